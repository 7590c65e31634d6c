#!/usr/bin/env bash
# transaction 5.1 (PyPI), the transaction manager of Zope, Pyramid and Plone.
# One would think: once all have voted, the decision is commit. When the second phase of one data manager fails (its answer is lost), the
# others are still told to finish, and the caller hears of the failure.
# It is: those that have not finished yet are told to abort, though they voted and others have committed; so are those that have finished.
# With a database behind it that means half a transaction. The log says "Resources may be in an inconsistent state"; the exception that
# the caller sees is that of a failed commit.
# Seen: of three managers a, b and c, of which b fails in tpc_finish, a finishes, and a, b and c get tpc_abort; c never gets tpc_finish.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
timeout 300 "$folder/python/bin/pip" install --quiet --disable-pip-version-check transaction==5.1
timeout 60 "$folder/python/bin/python" - <<'PYTHON'
import transaction

calls = []


class DataManager:
    transaction_manager = transaction.manager

    def __init__(self, name, fails=False):
        self.name, self.fails = name, fails

    def sortKey(self):
        return self.name

    def abort(self, _):
        calls.append((self.name, "abort"))

    def tpc_begin(self, _):
        pass

    def commit(self, _):
        pass

    def tpc_vote(self, _):
        calls.append((self.name, "tpc_vote"))

    def tpc_finish(self, _):
        calls.append((self.name, "tpc_finish"))
        if self.fails:
            raise ConnectionError("the answer was lost")

    def tpc_abort(self, _):
        calls.append((self.name, "tpc_abort"))


current = transaction.begin()
for manager in (DataManager("a"), DataManager("b", fails=True), DataManager("c")):
    current.join(manager)
try:
    transaction.commit()
    outcome = "committed"
except ConnectionError as error:
    outcome = f"raised {error!r}"
print(f"commit() {outcome}")
seen = {name: [call for who, call in calls if who == name] for name in "abc"}
for name, of_one in seen.items():
    print(f"{name}: {', '.join(of_one)}")
assert seen["a"] == seen["b"] == ["tpc_vote", "tpc_finish", "tpc_abort"]
assert seen["c"] == ["tpc_vote", "tpc_abort"]
PYTHON
