"""The library from another language, without any glue of ours: Python's ctypes.   ctypes_test.py LIBRARY TARGET"""
import ctypes as c
import json
import sys


class Options(c.Structure):
    """struct wattlm_request_options, as far as it is used here: what follows is zero."""

    _fields_ = [
        ("struct_size", c.c_size_t),
        ("model", c.c_char_p),
        ("system", c.c_char_p),
        ("request_class", c.c_int32),
        ("policy", c.c_int32),
        ("max_joules", c.c_double),
        ("deadline_ms", c.c_uint32),
        ("max_ttft_ms", c.c_uint32),
        ("max_tokens", c.c_uint32),
        ("greedy", c.c_int32),
    ]


def main(library, target):
    lib = c.CDLL(library)
    lib.wattlm_last_error.restype = c.c_char_p
    lib.wattlm_receipt_json.restype = c.c_char_p
    handle, text, receipt = c.c_void_p(), c.c_void_p(), c.c_void_p()
    if lib.wattlm_open(target.encode() or None, None, c.byref(handle)):
        sys.exit(lib.wattlm_last_error(None).decode())
    options = Options(struct_size=c.sizeof(Options), greedy=1)
    ask = lib.wattlm_ask
    ask.argtypes = [c.c_void_p, c.c_char_p, c.c_void_p, c.c_int32, c.c_void_p, c.c_void_p]
    status = ask(handle, b"wake me at seven", c.byref(options), -1, c.byref(text), c.byref(receipt))
    if status:
        sys.exit(lib.wattlm_last_error(handle).decode())
    assert json.loads(c.string_at(text)) == {"do": "alarm.set", "time": "07:00"}, c.string_at(text)
    assert json.loads(lib.wattlm_receipt_json(receipt))["finish_reason"] == "stop"
    lib.wattlm_string_free(text)
    lib.wattlm_receipt_free(receipt)
    options.model = b"nothing"
    status = ask(handle, b"x", c.byref(options), -1, c.byref(text), None)
    assert status == 102 and b"nothing" in lib.wattlm_last_error(handle), status
    lib.wattlm_close(handle)
    print("ctypes: as it should be")


main(*sys.argv[1:])
