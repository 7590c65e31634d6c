"""RabbitMQ 3.10.8 (Debian's `rabbitmq-server`): the functions of its exchange type, called in Erlang as the exchange calls them. They are
private to their module, which is therefore compiled anew from the code that the installed file carries.

`python3 rabbitmq.py > rabbitmq.tsv`
"""
import glob
import os
import subprocess
import tempfile

from common import case, keys

[code] = glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/rabbitmq_consistent_hash_exchange-*/ebin") or [tempfile.mkdtemp()]
if not os.listdir(code):
    [archive] = glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/rabbitmq_consistent_hash_exchange-*.ez")
    subprocess.run(["unzip", "-q", archive, "-d", code], check=True)
    [code] = glob.glob(code + "/*/ebin")
COUNTS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 31, 32, 64, 100, 255, 300, 1000, 4096, 65535]
path = tempfile.mkdtemp()
with open(path + "/keys", "w") as file:
    file.write("".join(f"<<{','.join(map(str, key))}>>.\n" for key in keys("binary")))
expression = f"""
    {{ok, {{_, [{{abstract_code, {{_, Forms}}}}]}}}} = beam_lib:chunks(code:which(rabbit_exchange_type_consistent_hash), [abstract_code]),
    {{ok, Module, Code}} = compile:forms(Forms, [export_all, nowarn_export_all]),
    code:purge(Module),
    {{module, Module}} = code:load_binary(Module, "", Code),
    {{ok, Keys}} = file:consult("{path}/keys"),
    [io:format("~p~n", [Module:jump_consistent_hash(erlang:phash2(Key), Count)])
        || Count <- {COUNTS}, Key <- Keys],
    halt()."""
out = subprocess.run(["erl", "-noshell", "-pa", code, "-eval", expression], check=True, capture_output=True, text=True).stdout
found = [int(line) for line in out.split()]
for count in COUNTS:
    owners, found = found[:2000], found[2000:]
    case(f"buckets-{count}", [], owners, count)
