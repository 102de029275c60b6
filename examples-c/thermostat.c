/* What somebody says becomes a command, and the command is carried out.   thermostat UTTERANCE [TARGET]
 *
 * The demo model answers with one flat JSON object without spaces, such as
 * {"do":"climate.adjust","room":"bedroom","delta":1}. A real product would use its JSON library here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wattlm.h>

/* The value of a field as text, or "". */
static const char *field(const char *json, const char *name, char *value, size_t size) {
    char key[32];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(json, key);
    value[0] = '\0';
    if (at) {
        at += strlen(key);
        at += *at == '"';
        snprintf(value, size, "%.*s", (int)strcspn(at, "\",}"), at);
    }
    return value;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: thermostat UTTERANCE [TARGET]\n");
        return 2;
    }
    wattlm_handle *llm;
    if (wattlm_open(argc > 2 ? argv[2] : NULL, NULL, &llm) != WATTLM_OK) {
        fprintf(stderr, "thermostat: %s\n", wattlm_last_error(NULL));
        return 1;
    }
    wattlm_request_options options = {0};
    options.struct_size = sizeof options;
    options.request_class = WATTLM_CLASS_INTERACTIVE;
    options.greedy = 1;

    char *json;
    if (wattlm_ask(llm, argv[1], &options, 10000, &json, NULL) != WATTLM_OK) {
        fprintf(stderr, "thermostat: %s\n", wattlm_last_error(llm));
        wattlm_close(llm);
        return 1;
    }

    double degrees = 20.0;
    char command[32], room[32], number[16];
    field(json, "do", command, sizeof command);
    field(json, "room", room, sizeof room);
    if (strcmp(command, "climate.adjust") == 0)
        degrees += atof(field(json, "delta", number, sizeof number));
    else if (strcmp(command, "climate.set") == 0)
        degrees = atof(field(json, "temp", number, sizeof number));
    else
        room[0] = '\0';
    if (room[0])
        printf("%s: %.1f degrees\n", room, degrees);
    else
        printf("not for the thermostat: %s\n", json);

    wattlm_string_free(json);
    wattlm_close(llm);
    return 0;
}
