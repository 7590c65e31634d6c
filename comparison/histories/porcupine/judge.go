// Judges a history with Porcupine: a log of Jepsen's console, a log of a key-value store in EDN, or JSON lines.
//
// It prints Ok, Illegal or Unknown.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/anishathalye/porcupine"
)

// A call on one key. A value of nil is `unset`.
type call struct{ function, key, value, new string }

// An answer. Nothing is known of a call of unknown outcome; a call that failed had no effect.
type answer struct {
	value           string
	unknown, failed bool
}

const unset = "nil"

// An event of a history, as it stands in a line.
type line struct{ process, kind, function, key, value string }

var model = porcupine.Model{
	PartitionEvent: partition,
	Init:           func() interface{} { return unset },
	Step:           step,
	Equal:          func(one, other interface{}) bool { return one.(string) == other.(string) },
}

// Text models start with an empty text instead of an unset register.
func text() porcupine.Model {
	of := model
	of.Init = func() interface{} { return "" }
	return of
}

func step(state, input, output interface{}) (bool, interface{}) {
	held, call, answer := state.(string), input.(call), output.(answer)
	switch call.function {
	case "read", "get":
		return answer.unknown || answer.failed || answer.value == held, state
	case "append":
		return true, held + call.value
	case "cas":
		// As in Porcupine's own test model, a call that failed found another value.
		if held == call.value {
			return !answer.failed, call.new
		}
		return answer.unknown || answer.failed, state
	default:
		return true, call.value
	}
}

func partition(events []porcupine.Event) [][]porcupine.Event {
	keys := map[int]string{}
	parts := map[string][]porcupine.Event{}
	for _, event := range events {
		if event.Kind == porcupine.CallEvent {
			keys[event.Id] = event.Value.(call).key
		}
		key := keys[event.Id]
		parts[key] = append(parts[key], event)
	}
	var all [][]porcupine.Event
	for _, part := range parts {
		all = append(all, part)
	}
	return all
}

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	of := model
	var events []porcupine.Event
	running := map[string]int{}
	lines := bufio.NewScanner(file)
	for id := 0; lines.Scan(); {
		var event line
		bytes := lines.Text()
		switch {
		case strings.HasPrefix(bytes, "INFO"):
			event = console(bytes)
		case strings.HasPrefix(bytes, "{:"):
			event = edn(bytes)
			of = text()
		case strings.HasPrefix(bytes, "{"):
			event = json(bytes)
		}
		switch event.kind {
		case "invoke":
			running[event.process] = id
			parts := strings.FieldsFunc(strings.Trim(event.value, "[]"), func(r rune) bool { return r == ',' || r == ' ' })
			made := call{event.function, event.key, event.value, ""}
			if event.function == "cas" {
				made.value, made.new = parts[0], parts[1]
			}
			events = append(events, porcupine.Event{Kind: porcupine.CallEvent, Value: made, Id: id})
			id++
		case "ok", "fail":
			found := answer{value: event.value, failed: event.kind == "fail"}
			events = append(events, porcupine.Event{Kind: porcupine.ReturnEvent, Value: found, Id: running[event.process]})
			delete(running, event.process)
		case "info":
			// It may take effect until the end.
			running[fmt.Sprint("lost ", running[event.process])] = running[event.process]
			delete(running, event.process)
		}
	}
	for _, id := range running {
		events = append(events, porcupine.Event{Kind: porcupine.ReturnEvent, Value: answer{unknown: true}, Id: id})
	}
	fmt.Println(porcupine.CheckEventsTimeout(of, events, 0))
}

// INFO  jepsen.util - 0	:invoke	:cas	[1 2]
func console(text string) line {
	_, text, found := strings.Cut(text, " - ")
	words := strings.SplitN(text, "\t", 4)
	if !found || len(words) != 4 || strings.HasPrefix(words[0], ":") {
		return line{}
	}
	return line{words[0], words[1][1:], words[2][1:], "", words[3]}
}

// {:process 0, :type :ok, :f :get, :key "7", :value ""}
func edn(text string) line {
	return line{
		between(text, ":process ", ","), between(text, ":type :", ","), between(text, ":f :", ","),
		between(text, ":key \"", "\""), between(text, ":value \"", "\"}"),
	}
}

// {"process":1,"type":"ok","f":"read","key":"x","value":7,"time":20}
func json(text string) line {
	value := between(text, "\"value\":", ",\"time\"")
	if value == "null" {
		value = unset
	}
	return line{
		between(text, "\"process\":", ","), between(text, "\"type\":\"", "\""), between(text, "\"f\":\"", "\""),
		between(text, "\"key\":\"", "\""), value,
	}
}

// The text between two others, or nothing.
func between(text, before, behind string) string {
	_, text, found := strings.Cut(text, before)
	if !found {
		return ""
	}
	text, _, _ = strings.Cut(text, behind)
	return text
}
