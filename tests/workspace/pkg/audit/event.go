// Package audit is the vocabulary of audit events and the client that services
// send them with.
package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/kubernaut/workspace/pkg/problem"
)

// Version is the version of the event format that this package writes.
const Version = "1.0"

var (
	Categories = []string{"gateway", "notification", "analysis", "signalprocessing", "workflow", "execution", "orchestration"}
	Outcomes   = []string{"success", "failure", "pending"}
)

// Event is one audit event. An event is identified by its id together with its
// timestamp: storing the same pair again changes nothing.
type Event struct {
	ID            string          `json:"event_id,omitempty"`
	Version       string          `json:"version"`
	Type          string          `json:"event_type"`
	Timestamp     time.Time       `json:"event_timestamp"`
	Category      string          `json:"event_category"`
	Action        string          `json:"event_action"`
	Outcome       string          `json:"event_outcome"`
	CorrelationID string          `json:"correlation_id"`
	Data          json.RawMessage `json:"event_data"`
}

// Validate returns everything that keeps e from being stored, in field order.
func (e Event) Validate() []problem.FieldError {
	var c checks
	if e.ID != "" && uuid.Validate(e.ID) != nil {
		c.add("event_id", "must be a UUID")
	}
	c.text("version", e.Version, 16)
	c.text("event_type", e.Type, 100)
	if e.Timestamp.IsZero() {
		c.add("event_timestamp", "is required")
	}
	c.oneOf("event_category", e.Category, Categories)
	c.text("event_action", e.Action, 100)
	c.oneOf("event_outcome", e.Outcome, Outcomes)
	c.text("correlation_id", e.CorrelationID, 255)
	c.object("event_data", e.Data)
	return c
}

type checks []problem.FieldError

func (c *checks) add(field, message string) {
	*c = append(*c, problem.FieldError{Field: field, Message: message})
}

func (c *checks) text(field, value string, most int) {
	switch {
	case strings.TrimSpace(value) == "":
		c.add(field, "is required")
	case utf8.RuneCountInString(value) > most:
		c.add(field, fmt.Sprintf("must have at most %d characters", most))
	case strings.ContainsRune(value, 0):
		c.add(field, "must not contain a NUL character")
	}
}

func (c *checks) oneOf(field, value string, allowed []string) {
	switch {
	case value == "":
		c.add(field, "is required")
	case !slices.Contains(allowed, value):
		c.add(field, "must be one of "+strings.Join(allowed, ", "))
	}
}

func (c *checks) object(field string, value json.RawMessage) {
	switch {
	case len(value) == 0 || string(value) == "null":
		c.add(field, "is required")
	case !bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")) || !json.Valid(value):
		c.add(field, "must be an object")
	}
}
