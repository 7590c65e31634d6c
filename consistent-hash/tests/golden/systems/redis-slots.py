"""Redis 7.0.15 (Debian's `redis-server`): slots of keys in twenty forms.

`python3 redis-slots.py > redis.tsv`. The setting of a case is the text around a key, in which `K` stands for the key, `H` for its first
three bytes and `T` for the others.
"""
import os
import re
import socket
import subprocess
import tempfile
import time

from common import case, keys

FORMS = ["K", "{K}x", "x{K}", "{K", "K}", "{}K", "{{K}}", "{same}K", "{H}{T}", "}K{", "{H}T", "H{T}", "{ K }", "{K}{", "{}{K}", "a{K}b{c}", "KK", "{}}K", "{{}K", "K{}"]
os.chdir(tempfile.mkdtemp())
server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", "redis.sock", "--cluster-enabled", "yes", "--save", ""], stdout=subprocess.DEVNULL)
try:
    for _ in range(100):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect("redis.sock")
            break
        except OSError:
            time.sleep(0.05)
    answers = connection.makefile("rb")

    def ask(*words):
        connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return answers.readline()

    plain = list(keys("binary"))
    for form in FORMS:
        words = [re.sub(rb"[KHT]", lambda found: {b"K": key, b"H": key[:3], b"T": key[3:]}[found.group()], form.encode()) for key in plain]
        case(form, [], [int(ask(b"CLUSTER", b"KEYSLOT", word)[1:]) for word in words], form)
finally:
    server.terminate()
    server.wait()
