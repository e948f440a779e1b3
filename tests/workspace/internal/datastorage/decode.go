package datastorage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
)

// readEvent reads the request's body as one event, or says why it cannot.
func readEvent(w http.ResponseWriter, r *http.Request) (audit.Event, *problem.Problem) {
	var raw json.RawMessage
	if refusal := readJSON(w, r, maxEventBytes, &raw); refusal != nil {
		return audit.Event{}, refusal
	}
	e, errs := parseEvent(raw)
	if len(errs) > 0 {
		return audit.Event{}, problem.Invalid(errs)
	}
	return e, nil
}

// readBatch reads the request's body as an array of events, of which all have
// to be valid.
func readBatch(w http.ResponseWriter, r *http.Request) ([]audit.Event, *problem.Problem) {
	var raws []json.RawMessage
	if refusal := readJSON(w, r, maxBatchBytes, &raws); refusal != nil {
		return nil, refusal
	}
	if len(raws) == 0 || len(raws) > maxBatchEvents {
		return nil, problem.New(http.StatusBadRequest, "batch-size", "Batch size",
			fmt.Sprintf("a batch has 1 to %d events, not %d", maxBatchEvents, len(raws)))
	}
	events := make([]audit.Event, len(raws))
	var all []problem.FieldError
	for i, raw := range raws {
		e, errs := parseEvent(raw)
		for _, err := range errs {
			all = append(all, problem.FieldError{Field: fmt.Sprintf("[%d].%s", i, err.Field), Message: err.Message})
		}
		events[i] = e
	}
	if len(all) > 0 {
		return events, problem.Invalid(all)
	}
	return events, nil
}

func readJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) *problem.Problem {
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType != "application/json" {
		return problem.New(http.StatusUnsupportedMediaType, "unsupported-media-type", "Unsupported media type",
			fmt.Sprintf("the body must be application/json, not %q", r.Header.Get("Content-Type")))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return problem.New(http.StatusRequestEntityTooLarge, "body-too-large", "Body too large",
			fmt.Sprintf("the body must have at most %d bytes", tooLarge.Limit))
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return problem.New(http.StatusBadRequest, "malformed-json", "Malformed JSON", err.Error())
	}
	return nil
}

// parseEvent reads each member by itself, so that all that is wrong with an
// event is reported at once.
func parseEvent(raw json.RawMessage) (audit.Event, []problem.FieldError) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return audit.Event{}, []problem.FieldError{{Field: "event", Message: "must be an object"}}
	}
	var e audit.Event
	p := eventParser{members: members}
	p.text("event_id", &e.ID)
	p.text("version", &e.Version)
	p.text("event_type", &e.Type)
	p.timestamp("event_timestamp", &e.Timestamp)
	p.text("event_category", &e.Category)
	p.text("event_action", &e.Action)
	p.text("event_outcome", &e.Outcome)
	p.text("correlation_id", &e.CorrelationID)
	e.Data = p.take("event_data")
	errs := p.merge(e.Validate())
	if e.ID == "" {
		e.ID = uuid.Must(uuid.NewV7()).String()
	}
	return e, errs
}

type eventParser struct {
	members map[string]json.RawMessage
	errs    []problem.FieldError
}

func (p *eventParser) take(name string) json.RawMessage {
	raw := p.members[name]
	delete(p.members, name)
	return raw
}

func (p *eventParser) text(name string, into *string) {
	if raw := p.take(name); raw != nil && json.Unmarshal(raw, into) != nil {
		p.errs = append(p.errs, problem.FieldError{Field: name, Message: "must be a string"})
	}
}

func (p *eventParser) timestamp(name string, into *time.Time) {
	var text string
	p.text(name, &text)
	if text == "" {
		return
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.errs = append(p.errs, problem.FieldError{Field: name, Message: "must be an RFC 3339 time"})
		return
	}
	*into = t.UTC()
}

// merge adds what is wrong with the values to what is wrong with their types;
// the latter leaves a field empty, which is no second error. What is left in
// members is unknown.
func (p *eventParser) merge(invalid []problem.FieldError) []problem.FieldError {
	known := map[string]bool{}
	for _, err := range p.errs {
		known[err.Field] = true
	}
	errs := p.errs
	for _, err := range invalid {
		if !known[err.Field] {
			errs = append(errs, err)
		}
	}
	for name := range p.members {
		errs = append(errs, problem.FieldError{Field: name, Message: "is not a field of an event"})
	}
	slices.SortStableFunc(errs, func(a, b problem.FieldError) int { return strings.Compare(a.Field, b.Field) })
	return errs
}
