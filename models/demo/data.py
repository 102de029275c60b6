"""Generates the demo model's data: utterances and the JSON commands that they mean, reproducible by seed.

The marks in templates.py say which templates and carriers ("could you … please") are held out whole, and of which
only half of the wordings trains; more.py adds phrasings that only training uses. Free text uses disjoint words.
`python data.py` checks that heldout.jsonl comes from what is held out, and that no held-out wording and no utterance of
the held-out files occurs in training.
"""

import argparse
import json
import os
import random
import re
import zlib
from functools import lru_cache

import more
import templates
import words

TRAIN, HELD = "train", "held"
HELD_FILES = ("heldout.jsonl", "heldout-free.jsonl")

WEIGHTS = {
    "alarm.set": 5, "reminder.add": 7, "list.add": 4, "media.play": 4, "timer.set": 3, "climate.set": 3,
    "climate.warmer": 3, "climate.cooler": 3, "light.on": 3, "light.off": 3, "light.set": 2, "unsupported": 5,
    "clarify.what": 2.5, "foreign": 6, "two": 1.5, "smalltalk": 2, "list.add.shop": 2, "list.remove": 2,
    "timer.set.name": 2, "light.color": 2, "alarm.cancel": 1.5, "volume.set": 1.5, "scene.named": 1.5,
}  # fmt: skip


def lines_of(text, part):
    """The lines of a list that the part uses, with their marks: "! " is held out, "~ " is shared."""
    lines = [line for line in text.split("\n") if line.strip()]
    return [line for line in lines if line[:2] == "~ " or (line[:2] == "! ") == (part == HELD)]


def is_held(skeleton):
    """Which half of a shared line's wordings is held out."""
    return zlib.crc32(skeleton.encode()) % 2 == 1


def expand(line, rng):
    """Makes the line's choices: [a|b] and (a), innermost first."""
    while True:
        found = re.search(r"\[([^\[\]()]*)\]|\(([^\[\]()]*)\)", line)
        if not found:
            return re.sub(r" +", " ", line).strip()
        if found[1] is not None:
            choice = rng.choice(found[1].split("|"))
        else:
            choice = rng.choice(found[2].split("|")) if rng.random() < 0.45 else ""
        line = line[: found.start()] + choice + line[found.end() :]


@lru_cache(maxsize=None)
def expansions(line):
    """All the skeletons that the line can become."""
    found = re.search(r"\[([^\[\]()]*)\]|\(([^\[\]()]*)\)", line)
    if not found:
        return frozenset({re.sub(r" +", " ", line).strip()})
    choices = found[1].split("|") if found[1] is not None else ["", *found[2].split("|")]
    return frozenset(e for c in choices for e in expansions(line[: found.start()] + c + line[found.end() :]))


def bare(line):
    """The line without its marks."""
    return re.sub(r"^([!~] )?(= )?", "", line)


@lru_cache(maxsize=None)
def options(text):
    return tuple(text.split("|"))


def trained(kind):
    """The lines of a kind together with those that only training has."""
    return templates.PHRASES[kind] + more.PHRASES.get(kind, "")


@lru_cache(maxsize=None)
def known_words():
    """The words of which training makes new ones: its own free text and all the templates' fixed words that train."""
    free = (words.ITEMS, words.TASKS, words.GENRES, words.ARTISTS, words.SONGS, words.TOPICS, words.PEOPLE)
    lines = [line for kind in templates.PHRASES for line in lines_of(trained(kind), TRAIN) if line[0] != "~"]
    text = re.sub(r"\{\w+\}", " ", " ".join((*free, *lines)))
    return sorted(set(re.findall(r"[a-z]{2,}", text)) - held_words())


@lru_cache(maxsize=None)
def held_words():
    """The words of the held-out free text that training's does not have."""
    texts = {part: " ".join(v for k, v in vars(words).items() if k.isupper() and isinstance(v, str)
                            and k.startswith("HELD_") == (part == HELD)) for part in (TRAIN, HELD)}
    found = {part: set(re.findall(r"\w{2,}", re.sub(r"\{\w+\}", " ", text))) for part, text in texts.items()}
    return frozenset(found[HELD] - found[TRAIN])


def number_words(n):
    if n < 20:
        return words.NUMBERS[n]
    if n == 100:
        return "a hundred"
    tens, ones = divmod(n, 10)
    return words.TENS[tens - 2] + (" " + words.NUMBERS[ones] if ones else "")


class Filler:
    """Fills one template's slots and remembers the values for the answer."""

    def __init__(self, rng, part, kind):
        self.rng, self.part, self.kind, self.values = rng, part, kind, {}
        self.todo = rng.random() < 0.25
        self.morning = False

    def pick(self, text):
        return self.rng.choice(options(text))

    def free(self, name):
        return self.pick(getattr(words, ("HELD_" if self.part == HELD else "") + name))

    def fill(self, line):
        return re.sub(r"\{(\w+)\}", lambda m: self.slot(m[1]), line)

    def slot(self, name):
        if name in words.FIXED:
            value = self.rng.choice(list(words.FIXED[name]))
            if value:
                self.values[name] = value
            return self.pick(words.FIXED[name][value])
        return getattr(self, "slot_" + name)()

    # Rooms

    def named_room(self):
        value = self.rng.choice(list(words.ROOMS))
        self.values["room"] = value
        return value, self.pick(words.ROOMS[value])

    def slot_room(self):
        return self.named_room()[1]

    slot_roomadj = slot_room

    def slot_inroom(self):
        roll = self.rng.random()
        if roll < 0.08:
            self.values["room"] = "all"
            return self.pick(words.EVERYWHERE)
        if roll < 0.14:
            self.values["room"] = "here"
            return self.pick(words.HERE)
        if roll < 0.19:
            self.values["room"] = self.rng.choice(("upstairs", "downstairs"))
            return self.values["room"]
        value, name = self.named_room()
        return f"{'on' if value in words.ON_ROOMS else 'in'} the {name}"

    slot_inroom2 = slot_inroom

    def slot_all(self):
        self.values["room"] = "all"
        return self.pick(words.ALL_LIGHTS)

    # Numbers

    def number(self, n):
        return number_words(n) if self.rng.random() < 0.5 else str(n)

    def slot_number(self):
        return self.number(self.rng.randint(2, 99))

    def slot_level(self):
        roll = self.rng.random()
        if roll < 0.05:
            self.values["level"] = 100
            return self.pick("full|maximum|max")
        if roll < 0.09:
            self.values["level"] = 50
            return "half"
        level = self.rng.randint(1, 20) * 5 if roll < 0.7 else self.rng.randint(1, 100)
        self.values["level"] = level
        return self.rng.choice((f"{level} percent", f"{level}%", number_words(level) + " percent", self.number(level)))

    def slot_temp(self):
        half = self.rng.random() < 0.15
        whole = self.rng.randint(15, 27)
        self.values["temp"] = whole + 0.5 if half else whole
        unit = self.pick(" degrees| degrees| degrees|| degrees celsius")
        if self.rng.random() < 0.5:
            return number_words(whole) + (self.pick(" and a half| point five") if half else "") + unit
        return f"{whole}{'.5' if half else ''}{unit if self.rng.random() < 0.9 else '°'}"

    def degrees(self):
        n = self.rng.randint(1, 5)
        self.values["delta"] = n
        return f"{self.rng.choice(('a', 'one', '1')) if n == 1 else self.number(n)} degree{'s' if n > 1 else ''}"

    def slot_amount(self):
        roll = self.rng.random()
        if roll < 0.3:
            self.values["delta"] = 2
            return ""
        if roll < 0.6:
            self.values["delta"] = 1
            return self.pick("a bit|a bit|a little|a little bit|slightly|a tad|a touch")
        if roll < 0.75:
            self.values["delta"] = 3
            return self.pick("much|a lot|way|far|quite a bit")
        return self.degrees()

    def slot_adv(self):
        roll = self.rng.random()
        if roll < 0.35:
            self.values["delta"] = 2
            return ""
        if roll < 0.6:
            self.values["delta"] = 1
            return self.pick("a bit|a bit|a little|a little bit|slightly|a notch|a tad")
        if roll < 0.75:
            self.values["delta"] = 3
            return self.pick("a lot|by a lot|quite a bit|quite a lot")
        return self.pick("by |by |") + self.degrees()

    # Times

    def slot_atime(self):
        return self.time(lambda hour: hour)

    def slot_rtime(self):
        return self.time(lambda hour: hour + 12 if hour <= 7 else hour)

    def time(self, unsaid):
        """A spoken time; `unsaid` gives the hour where nothing says morning or evening."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.04 and not self.morning:
            self.values["time"] = rng.choice(("12:00", "00:00"))
            return self.pick("noon|midday|twelve noon") if self.values["time"] == "12:00" else "midnight"
        if roll < 0.14 and not self.morning:
            hour, minute = rng.choice((rng.randint(13, 23), rng.randint(0, 23))), self.minute()
            self.values["time"] = f"{hour:02}:{minute:02}"
            if hour < 13 or rng.random() < 0.7:
                return f"{hour:02}:{minute:02}"
            if minute == 0:
                return f"{hour} {self.pick('hundred|o’clock|hours')}".replace("’", "'")
            return f"{number_words(hour)} {number_words(minute) if minute > 9 else 'oh ' + number_words(minute)}"
        hour, minute = rng.randint(1, 12), self.minute()
        said, after = self.clock(hour, minute)
        qualified = not self.morning and rng.random() < 0.45
        if not qualified:
            hour = hour if self.morning else unsaid(hour)
        else:
            half = rng.choice(("am", "pm"))
            if half == "am":
                after += self.pick(" am| am| a.m.| in the morning| in the morning")
                hour %= 12
            else:
                near = " in the afternoon" if hour == 12 or hour < 6 else " in the evening| tonight"
                near += "| at night" if 9 <= hour < 12 else ""
                after += self.pick(" pm| pm| p.m.|" + near)
                hour = hour % 12 + 12
        self.values["time"] = f"{hour:02}:{minute:02}"
        return (said + after).replace("  ", " ")

    def minute(self):
        roll = self.rng.random()
        if roll < (0.2 if self.part == TRAIN else 0.3):
            return 0
        return self.rng.randint(1, 11) * 5 if roll < 0.85 else self.rng.randint(0, 59)

    def clock(self, hour, minute):
        """A 12-hour time as it is spoken or written."""
        rng = self.rng
        said = number_words(hour) if rng.random() < 0.6 else str(hour)
        following = hour % 12 + 1
        following = number_words(following) if rng.random() < 0.7 else str(following)
        if minute == 0:
            return rng.choice(((said, ""), (said, ""), (said, " o'clock"), (f"{hour}:00", ""), (said, " sharp")))
        forms = [f"{hour}:{minute:02}", f"{hour}:{minute:02}", f"{hour}.{minute:02}", f"{hour} {minute:02}"]
        forms.append(f"{number_words(hour)} {'oh ' if minute < 10 else ''}{number_words(minute)}")
        forms.append(forms[-1])
        if minute == 30:
            forms += [f"half past {said}"] * 4 + [f"half {said}"]
        elif minute == 15:
            forms += [f"{self.pick('quarter|a quarter')} {self.pick('past|past|after')} {said}"] * 4
        elif minute == 45:
            forms += [f"{self.pick('quarter|a quarter')} {self.pick('to|to|before|till')} {following}"] * 4
        else:
            m = minute if minute < 30 else 60 - minute
            plain = m % 5 == 0
            text = number_words(m) if rng.random() < 0.75 else str(m)
            text += "" if plain and rng.random() < 0.8 else f" minute{'s' if m > 1 else ''}"
            way = "past|past|past|after" if minute < 30 else "to|to|to|before|till"
            often = (9 if plain else 5) if self.part == TRAIN else (5 if plain else 2)
            forms += [f"{text} {self.pick(way)} {said if minute < 30 else following}"] * often
        return rng.choice(forms), ""

    def slot_dur(self):
        rng = self.rng
        roll = rng.random()
        special = {
            "half an hour": "30m", "half hour": "30m", "an hour and a half": "1h30m", "one and a half hours": "1h30m",
            "a quarter of an hour": "15m", "three quarters of an hour": "45m", "an hour": "1h", "a minute": "1m",
            "a minute and a half": "1m30s", "half a minute": "30s", "two and a half minutes": "2m30s",
            "two and a half hours": "2h30m", "one and a half minutes": "1m30s", "a couple of minutes": "2m",
        }  # fmt: skip
        if roll < 0.22:
            text = rng.choice(list(special))
            if text == "half hour" and self.kind != "reminder.add":
                text = "half an hour"
            self.values["dur"] = special[text]
            return text
        if roll < 0.36:
            a, b = rng.choice((("h", "m"), ("h", "m"), ("m", "s")))
            x, y = rng.randint(1, 4 if a == "h" else 12), rng.randint(1, 11) * 5
            self.values["dur"] = f"{x}{a}{y}{b}"
            return f"{self.unit(x, a)}{self.pick(' and | | and ')}{self.unit(y, b)}"
        unit = rng.choice("mmmmsh")
        n = rng.randint(1, 12) * 5 if unit in "ms" and rng.random() < 0.5 else rng.randint(1, 12 if unit == "h" else 59)
        self.values["dur"] = f"{n}{unit}"
        return self.unit(n, unit)

    def unit(self, n, unit):
        names = {"h": "hour|hour|hour", "m": "minute|minute|minute|min", "s": "second|second|second|sec"}[unit]
        count = self.rng.choice(("an" if unit == "h" else "a", "one", "1")) if n == 1 else self.number(n)
        return f"{count} {self.pick(names)}{'s' if n > 1 else ''}"

    def slot_duradj(self):
        unit = self.rng.choice("mmmsh")
        n = self.rng.randint(1, 12) * 5 if unit in "ms" and self.rng.random() < 0.5 else self.rng.randint(1, 24)
        self.values["dur"] = f"{n}{unit}"
        name = {"h": "hour", "m": "minute", "s": "second"}[unit]
        return f"{self.number(n)}{self.pick(' | | |-')}{name}"

    def slot_aday(self):
        days = ("tomorrow", "tomorrow", "weekdays", "daily", "weekend", "week")
        day = self.rng.choice((*days, "week", "week") if self.part == TRAIN else days)
        am = self.values.get("time", "06:00") < "12:00"
        if day == "tomorrow":
            self.values["day"] = day
            if am and self.rng.random() < 0.35:
                self.morning = "time" not in self.values
                return "tomorrow morning"
            return "tomorrow"
        return self.other_day(day)

    def other_day(self, day):
        if day == "week":
            self.values["day"] = self.pick(words.DAYS)
            return self.pick("on |on |next |") + self.values["day"]
        self.values["day"] = day
        return self.pick(
            {
                "today": "today",
                "tomorrow": "tomorrow",
                "weekdays": "on weekdays|every weekday|on workdays|from monday to friday",
                "daily": "every day|every morning|daily|each day",
                "weekend": "on weekends|at the weekend|on the weekend",
            }[day]
        )

    def slot_rday(self):
        return self.other_day(self.rng.choice(("today", "tomorrow", "tomorrow", "week", "week", "weekend")))

    def slot_wday(self):
        day = self.rng.choice(("today", "tomorrow", "tomorrow", "tonight", "weekend", "week"))
        if day == "tonight":
            self.values["day"] = "today"
            return self.pick("tonight|this afternoon|this evening|later today")
        if day == "weekend":
            self.values["day"] = day
            return self.pick("this weekend|on the weekend|at the weekend")
        if day == "tomorrow" and self.rng.random() < 0.3:
            self.values["day"] = day
            return self.pick("tomorrow morning|tomorrow afternoon|tomorrow evening")
        return self.other_day(day)

    # Free text: \x01 and \x02 enclose what the answer copies

    def copied(self, text):
        if "\x01" in self.values:
            return text
        return f"\x01{text}\x02"

    def made(self, share):
        """Whether training, this time, makes a word up; what is held out never does."""
        return self.part == TRAIN and self.rng.random() < share

    def made_up(self, known=False):
        """A word that means nothing, so that copying cannot rest on knowing the words: made of sounds or, mostly in
        training, of fragments of known words, which gives the token sequences of words not yet seen; or, where `known`
        allows it, such a word itself, which has no business there."""
        rng = self.rng
        roll = rng.random() if self.part == TRAIN else 1.0
        if known and roll < 0.3:
            return rng.choice(known_words())
        if roll < 0.65:
            while True:
                word = ""
                for _ in range(rng.choice((1, 2, 2, 2, 3))):
                    known, size = rng.choice(known_words()), rng.randint(2, 5)
                    at = rng.randint(0, max(0, len(known) - size))
                    word += known[at : at + size]
                if word not in held_words():
                    return word
        word = "".join(
            rng.choice(words.ONSETS) + rng.choice(words.VOWELS) + rng.choice(words.CODAS).replace("-", "")
            for _ in range(rng.choice((1, 1, 2, 2, 3)))
        )
        return word + rng.choice(words.ENDINGS).replace("-", "")

    def plain_person(self):
        name = self.free("PEOPLE")
        if self.made(0.5):
            name = self.made_up()
        return name.title() if not name.startswith("my ") and self.rng.random() < 0.4 else name

    def plain_item(self):
        roll = self.rng.random()
        item = self.made_up() if self.part == TRAIN and roll < 0.55 else self.free("ITEMS")
        if self.part == TRAIN and 0.55 < roll < 0.65:
            item = self.made_up() + " " + item
        if self.rng.random() < 0.2:
            item = self.pick(words.QUANTITIES) + " " + item
        return item

    def plain_task(self):
        task = self.free("TASKS")
        if self.made(0.25):
            task = re.sub("@", lambda _: self.made_up(known=True), self.pick(more.MADE_TASKS))
        elif self.made(0.6):
            kept = task.split()
            for _ in range(self.rng.choice((1, 1, 2))):
                kept[self.rng.randrange(len(kept))] = self.made_up(known=True)
            task = " ".join(kept)
        return task.replace("{person}", self.plain_person()).replace("{item}", self.plain_item())

    def slot_person(self):
        return self.plain_person()

    def slot_item(self):
        if self.kind.startswith("list.") and self.kind != "list.add.shop" and self.todo:
            return self.copied(self.plain_task())
        item = self.plain_item()
        roll = self.rng.random()
        if self.kind.startswith("list.add") and roll < 0.2:
            item += f" and {self.plain_item()}"
        elif self.kind.startswith("list.add") and roll < 0.24:
            item += f", {self.plain_item()} and {self.plain_item()}"
        return self.copied(item) if self.kind.startswith("list.") else item

    def slot_task(self):
        return self.copied(self.plain_task())

    def slot_song(self):
        roll = self.rng.random()
        made = self.made(0.6)
        if roll < 0.4:
            song = f"{self.made_up()} music" if made else self.free("GENRES")
        elif roll < 0.65:
            song = f"{self.made_up()} {self.made_up()}" if made else self.free("ARTISTS")
        else:
            song = self.pick(more.MADE_SONGS) if made else self.free("SONGS")
            song = re.sub("@", lambda _: self.made_up(known=" " in song), song) if made else song
            if roll > 0.85:
                song += f" by {self.made_up() if made else self.free('ARTISTS')}"
        if self.rng.random() < 0.1:
            song = song.title()
        return self.copied(song)

    def slot_tname(self):
        if self.kind.startswith("clarify"):
            return self.free("TIMER_NAMES")
        return self.copied(self.made_up() if self.made(0.55) else self.free("TIMER_NAMES"))

    def slot_list(self):
        self.values["list"] = "todo" if self.todo else "shopping"
        if self.todo:
            return self.pick("to do list|todo list|to-do list|task list|list of tasks")
        return self.pick("shopping list|shopping list|grocery list|list")

    def slot_list2(self):
        self.todo, self.values["list"] = False, "shopping"
        return self.pick("the shopping list|the list|the grocery list")

    def slot_topic(self):
        return self.free("TOPICS")

    def slot_city(self):
        return self.free("CITIES")

    def slot_country(self):
        return self.free("COUNTRIES")

    def slot_gibberish(self):
        rng = self.rng
        if rng.random() < 0.5:
            return self.made_up()
        return "".join(rng.choice("asdfghjklqwertyuiopzxcvbnm") for _ in range(rng.randint(3, 8)))

    def slot_cmd(self):
        kind = self.rng.choice(
            ("light.on", "light.off", "light.dim", "climate.warmer", "climate.set", "blinds.open", "blinds.close",
             "timer.set", "media.play", "lock.lock", "device.on", "device.off", "alarm.set", "media.stop", "list.add")
        )  # fmt: skip
        text = trained(kind) if self.part == TRAIN else templates.PHRASES[kind]
        lines = [bare(line) for line in lines_of(text, TRAIN) if "= " not in line[:4]]
        inner = Filler(self.rng, self.part, kind)
        while True:
            skeleton = expand(self.rng.choice(lines), self.rng)
            if self.part == HELD or skeleton not in held_wordings():
                return inner.fill(skeleton).replace("\x01", "").replace("\x02", "")

    slot_cmd2 = slot_cmd


def answer(kind, v, text):
    """The command that a kind with these slot values means; keys in the schema's order."""
    room, day = v.get("room", "here"), v.get("day")

    def command(do, **fields):
        return {"do": do, **{k: f for k, f in fields.items() if f is not None}}

    match kind:
        case "light.on" | "light.off" | "light.dim" | "light.brighten":
            return command(kind, room=room)
        case "light.set":
            return command(kind, room=room, level=v["level"])
        case "light.color":
            return command(kind, room=room, color=v["color"])
        case "climate.set":
            return command(kind, room=room, temp=v["temp"])
        case "climate.warmer" | "climate.cold":
            return command("climate.adjust", room=room, delta=v.get("delta", 2))
        case "climate.cooler" | "climate.hot":
            return command("climate.adjust", room=room, delta=-v.get("delta", 2))
        case "climate.on" | "climate.off" | "blinds.open" | "blinds.close" | "blinds.stop":
            return command(kind, room=room)
        case "blinds.set" | "blinds.half":
            return command("blinds.set", room=room, level=v.get("level", 50))
        case "alarm.set":
            return command(kind, time=v["time"], day=day)
        case "alarm.cancel":
            return command(kind, time=v["time"])
        case "alarm.cancel.all":
            return command("alarm.cancel", time="all")
        case "timer.set" | "timer.set.name":
            return command("timer.set", **{"for": v["dur"]}, name=text)
        case "timer.cancel" | "timer.cancel.name" | "timer.query" | "timer.query.name":
            return command(kind.removesuffix(".name"), name=text)
        case "media.play":
            return command(kind, query=text, room=v.get("room"))
        case "volume.set":
            return command(kind, level=v["level"])
        case "reminder.add":
            return command(kind, text=text, time=v.get("time"), day=day, **{"in": v.get("dur")})
        case "list.add" | "list.remove":
            return command(kind, list=v["list"], item=text)
        case "list.add.shop":
            return command("list.add", list="shopping", item=text)
        case "list.query" | "list.clear":
            return command(kind, list=v.get("list", "shopping"))
        case "query.temp" | "query.humidity" | "query.light":
            return command(kind, room=room)
        case "query.weather":
            return command(kind, day=day or "today")
        case "query.lock" | "lock.lock" | "lock.unlock":
            return command(kind, door=v["door"])
        case "lock.lock.all":
            return command("lock.lock", door="all")
        case "device.on" | "device.off" | "query.device":
            return command(kind, device=v["device"])
        case "scene.night" | "scene.morning" | "scene.away" | "scene.home":
            return command("scene.set", scene=kind.removeprefix("scene."))
        case "scene.named":
            return command("scene.set", scene=v.get("scene") or v["sceneact"])
        case "two":
            return command("clarify", ask="one")
        case "unsupported" | "smalltalk":
            return command("none", why=kind)
    if kind.startswith("clarify."):
        return command("clarify", ask=kind.removeprefix("clarify."))
    return command(kind)


# Noise


def misspell(text, rng):
    """One slip of the finger in one longer word, never inside what the answer copies, never in a number."""
    spans = [m for m in re.finditer(r"[a-z]{5,}", text) if m[0] not in NUMBER_WORDS]
    inside = [range(m.start(), m.end()) for m in re.finditer("\x01.*?\x02", text)]
    spans = [m for m in spans if not any(m.start() in r for r in inside)]
    if not spans:
        return text
    found = rng.choice(spans)
    word, at = found[0], rng.randrange(1, len(found[0]) - 1)
    word = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :],
        )
    )
    return text[: found.start()] + word + text[found.end() :]


NUMBER_WORDS = {*words.NUMBERS, *words.TENS, "hundred", "quarter", "minute", "minutes", "second", "seconds"}
QUESTION = re.compile(r"^\W*(can|could|would|will|what|how|is|are|did|do|which|when|who|where|why|have|has)\b", re.I)


def vary(text, rng):
    """What only training has besides: hyphens in numbers, days with a capital letter, nothing of it in copied text."""
    if rng.random() < 0.15:
        tens, ones = "|".join(words.TENS), "|".join(words.NUMBERS[1:10])
        text = re.sub(rf"\b({tens}) (?=({ones})\b)(?![^\x01]*\x02)", r"\1-", text)
    if rng.random() < 0.3:
        text = re.sub(rf"\b({words.DAYS})\b(?![^\x01]*\x02)", lambda m: m[1].title(), text)
    return text


def dress(text, rng, typos, upper=0.01):
    """Writes the utterance as people and speech recognizers do: case, commas, full stops, slips."""
    if rng.random() < typos:
        text = misspell(text, rng)
    if rng.random() < 0.12:
        text = re.sub(r"(?<=[a-z])'(?=[a-z])", "", text)
    if rng.random() < 0.06:
        text = re.sub(r"\b(the|a|my) (?![^\x01]*\x02)", "", text, count=1)
    roll = rng.random()
    if roll < 0.55:
        return text
    if rng.random() < 0.4:
        text = re.sub(r"^((?:hey|ok|okay|hello|well|so|sorry|oh|excuse me|um|assistant|computer)) ", r"\1, ", text)
        text = re.sub(r" (please|thanks|thank you)$", r", \1", text)
    end = "?" if QUESTION.search(text) else rng.choice("....!")
    if roll < 0.65:
        return text + (end if rng.random() < 0.8 else "...")
    text = re.sub(r"\bi\b(?!\.)", "I", text)
    text = re.sub(r"^(\W*)([a-zà-ÿ])", lambda m: m[1] + m[2].upper(), text)
    if roll < 1 - upper:
        return text + (end if rng.random() < 0.8 else "")
    return text.upper()


class Generator:
    """Draws samples of one part: {"kind", "new", "skeleton", "say", "answer"}."""

    def __init__(self, part, seed):
        self.part, self.rng = part, random.Random(f"{part} {seed}")
        self.kinds = [*templates.PHRASES, "foreign"]
        self.weights = [WEIGHTS.get(kind, 1) for kind in self.kinds]
        self.lines = {
            kind: self.weighed(trained(kind) if part == TRAIN else text) for kind, text in templates.PHRASES.items()
        }
        self.foreign = {
            lang: self.weighed(text + more.FOREIGN[lang] if part == TRAIN else text)
            for lang, text in templates.FOREIGN.items()
        }
        self.carriers = {}
        for name, text, extra in (
            ("imperative", templates.CARRIERS, more.CARRIERS),
            ("sentence", templates.SENTENCE_CARRIERS, more.SENTENCE_CARRIERS),
        ):
            train = [bare(line) for line in lines_of(text, TRAIN) if line != "@"]
            held = [bare(line) for line in lines_of(text, HELD)]
            if part == TRAIN:
                self.carriers[name] = train + lines_of(extra, TRAIN)
            else:
                self.carriers[name] = held * (2 * len(train) // len(held)) + train

    def weighed(self, text):
        """Lines and how often to draw them: more often those that can become more."""
        lines = lines_of(text, self.part)
        weights = [min(6.0, len(expansions(bare(line))) ** 0.5) for line in lines]
        if self.part == HELD:
            whole = sum(w for line, w in zip(lines, weights) if line[0] == "!")
            shared = sum(w for line, w in zip(lines, weights) if line[0] == "~")
            weights = [w / (whole if line[0] == "!" else shared) for line, w in zip(lines, weights)]
        return lines, weights

    def sample(self):
        while True:
            kind = self.rng.choices(self.kinds, self.weights)[0]
            lang = self.rng.choice(list(self.foreign)) if kind == "foreign" else None
            lines, weights = self.foreign[lang] if lang else self.lines[kind]
            line = self.rng.choices(lines, weights)[0]
            skeleton = expand(bare(line), self.rng)
            if self.part == TRAIN and (line[0] == "~" and is_held(skeleton) or skeleton in held_wordings()):
                continue
            if self.part == HELD and skeleton in seen_in_training():
                continue
            made = self.foreign_sample(lang, skeleton) if lang else self.phrase(kind, line, skeleton)
            if self.part == TRAIN and normal(made["say"]) in held_utterances():
                continue
            made["new"] = "template" if line[0] == "!" else "wording"
            return made

    def phrase(self, kind, line, skeleton):
        rng = self.rng
        sentence = "= " in line[:4]
        filler = Filler(rng, self.part, kind)
        text = re.sub(r" +", " ", filler.fill(skeleton)).strip()
        if rng.random() < (0.25 if sentence else 0.6):
            carrier = rng.choice(self.carriers["sentence" if sentence else "imperative"])
            text = carrier.replace("@", text)
        if self.part == TRAIN:
            text = dress(vary(text, rng), rng, 0.12, 0.03)
        else:
            text = dress(text, rng, 0.06)
        copied = re.search("\x01(.*?)\x02", text)
        command = answer(kind, filler.values, copied and copied[1])
        return self.made(kind, skeleton, text, command)

    def foreign_sample(self, lang, skeleton):
        rng, slots = self.rng, templates.FOREIGN_SLOTS[lang]
        text = skeleton
        if "{in}" in skeleton and rng.random() < 0.4:
            text = skeleton.replace(" {in}", "")
        text = re.sub(r"\{(\w+)\}", lambda m: rng.choice(slots[m[1]].split("|")), text)
        text = dress(text, rng, 0.05)
        return self.made("foreign." + lang, skeleton, text, {"do": "none", "why": "language", "lang": lang})

    def made(self, kind, skeleton, text, command):
        say = text.replace("\x01", "").replace("\x02", "")
        return {
            "kind": kind,
            "skeleton": skeleton,
            "say": say,
            "answer": json.dumps(command, ensure_ascii=False, separators=(",", ":")),
        }


@lru_cache(maxsize=None)
def seen_in_training():
    """Every skeleton that training can produce, carriers aside."""
    seen = wordings((*templates.PHRASES.values(), *templates.FOREIGN.values()), TRAIN)
    return frozenset(seen | wordings((*more.PHRASES.values(), *more.FOREIGN.values()), TRAIN) - held_wordings())


@lru_cache(maxsize=None)
def held_wordings():
    """What the held-out lines of templates.py can become and its training lines cannot: more.py may not say it."""
    texts = (*templates.PHRASES.values(), *templates.FOREIGN.values())
    return frozenset(wordings(texts, HELD) - wordings(texts, TRAIN))


def wordings(texts, part):
    """All the skeletons of the texts that the part uses."""
    found = set()
    for line in (line for text in texts for line in lines_of(text, part)):
        found |= {e for e in expansions(bare(line)) if line[0] != "~" or is_held(e) == (part == HELD)}
    return found


def normal(say):
    return re.sub(r"[^\w]+", " ", say.lower()).strip()


def read_held(path):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), path), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@lru_cache(maxsize=None)
def held_utterances():
    """What the held-out files say, which training leaves out even where another template would say the same."""
    return frozenset(normal(item["say"]) for path in HELD_FILES for item in read_held(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="print this many training samples and stop")
    parser.add_argument("--write", action="store_true", help="draw a new heldout.jsonl instead of keeping it")
    parser.add_argument("--count", type=int, default=2000, help="how many items --write draws")
    parser.add_argument("--train-samples", type=int, default=500000, help="as many as train.py draws")
    arguments = parser.parse_args()
    if arguments.show:
        generator = Generator(TRAIN, arguments.seed)
        for _ in range(arguments.show):
            made = generator.sample()
            print(f"{made['kind']:18} {made['say']}\n{'':18} {made['answer']}")
        return
    if arguments.write:
        write(arguments.count, arguments.seed)
    generator = Generator(TRAIN, arguments.seed)
    check({normal(generator.sample()["say"]) for _ in range(arguments.train_samples)}, arguments.seed)


def write(count, seed):
    """Draws heldout.jsonl; training then leaves out what it says."""
    generator, written = Generator(HELD, seed), set()
    with open("heldout.jsonl", "w", encoding="utf-8") as out:
        while len(written) < count:
            made = generator.sample()
            key = normal(made["say"])
            if key not in written:
                written.add(key)
                kept = {k: made[k] for k in ("kind", "new", "say", "answer")}
                out.write(json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n")
    held_utterances.cache_clear()


def check(trained, seed):
    """No held-out template can be drawn in training, nothing that is held out was, and heldout.jsonl is such."""
    for kind, text in templates.PHRASES.items():
        held = {e for line in lines_of(text, HELD) for e in expansions(bare(line))}
        assert held - seen_in_training(), f"{kind}: nothing is held out"
    for text, extra in ((templates.CARRIERS, more.CARRIERS), (templates.SENTENCE_CARRIERS, more.SENTENCE_CARRIERS)):
        held = {bare(line) for line in lines_of(text, HELD)}
        assert not held & {*lines_of(extra, TRAIN)}, "a held-out carrier trains"
    items, generator, drawn = read_held("heldout.jsonl"), Generator(HELD, seed), 0
    for item in items:
        while True:
            made, drawn = generator.sample(), drawn + 1
            assert drawn < 2 * len(items), f"not drawn from what is held out: {item['say']}"
            assert made["skeleton"] not in seen_in_training()
            if all(made[key] == item[key] for key in item):
                break
    for path in HELD_FILES:
        both = [item["say"] for item in read_held(path) if normal(item["say"]) in trained]
        assert not both, f"{path}: also in training: {both}"
    print(f"heldout.jsonl: {len(items)} of {drawn} drawn; nothing that is held out occurs in training")


if __name__ == "__main__":
    main()
