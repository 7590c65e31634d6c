"""Flask-Session: a visitor's session survives between requests, and ends when it is cleared."""
import sys

from flask import Flask, session
from flask_session import Session
from redis import Redis

app = Flask(__name__)
app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis(port=int(sys.argv[1])))
Session(app)


@app.route("/visit")
def visit():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.route("/leave")
def leave():
    session.clear()
    return "bye"


visitor, other = app.test_client(), app.test_client()
assert [visitor.get("/visit").text for _ in range(3)] == ["1", "2", "3"]
assert other.get("/visit").text == "1"
visitor.get("/leave")
assert visitor.get("/visit").text == "1"
