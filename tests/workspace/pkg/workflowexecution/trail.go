package workflowexecution

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/kubernaut/workspace/pkg/audit"
)

// Event is one of the trail.
type Event = audit.Event

// Recorder is what an executor needs of an audit client.
type Recorder interface {
	Record(e audit.Event) error
}

// MaxMessage is how many bytes of a workflow's message go into the trail; logs
// of megabytes have ended up in messages.
const MaxMessage = 4096

var outcomes = map[Phase]string{Pending: "pending", Running: "pending", Completed: "success", Failed: "failure", Skipped: "success"}

// EventsOf is the trail of e so far. It is the same however often it is made, so
// that it can be written again when nobody knows whether it was.
func EventsOf(e Execution) []Event {
	events := make([]Event, len(e.History))
	for i, t := range e.History {
		action := strings.ToLower(string(t.To))
		events[i] = Event{
			ID:            uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s\x00%s\x00%d", e.Name, e.Order.ID, i)).String(),
			Version:       audit.Version,
			Type:          category(t.To) + ".execution." + action,
			Timestamp:     t.At.UTC(),
			Category:      category(t.To),
			Action:        action,
			Outcome:       outcomes[t.To],
			CorrelationID: e.Order.CorrelationID,
			Data:          details(e, i),
		}
	}
	return events
}

// category tells what was asked for from what was done to the cluster.
func category(p Phase) string {
	if p == Pending || p == Skipped {
		return "workflow"
	}
	return "execution"
}

func details(e Execution, i int) json.RawMessage {
	t := e.History[i]
	values := map[string]any{
		"execution": e.Name, "order": e.Order.ID, "target": e.Order.Target, "workflow": e.Order.Workflow, "phase": t.To,
	}
	if t.Reason != "" {
		values["reason"] = t.Reason
	}
	if t.Message != "" {
		values["message"] = cut(t.Message)
	}
	if t.From == Running {
		values["seconds"] = t.At.Sub(e.History[i-1].At).Seconds()
	}
	data, err := json.Marshal(values)
	if err != nil {
		panic(err) // strings and numbers
	}
	return data
}

// cut leaves no half characters behind.
func cut(message string) string {
	if len(message) <= MaxMessage {
		return message
	}
	message = message[:MaxMessage]
	for !utf8.ValidString(message) && len(message) > MaxMessage-utf8.UTFMax {
		message = message[:len(message)-1]
	}
	return message
}
