package remediationorchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/kubernaut/workspace/pkg/audit"
)

// Category of all events of this service.
const Category = "orchestration"

const (
	phasePrefix    = "orchestration.phase."
	attemptRetried = "orchestration.attempt.retried"
	escalated      = "orchestration.request.escalated"
)

// entry is the data of an event.
type entry struct {
	Target   string    `json:"target"`
	From     Phase     `json:"from,omitempty"`
	Phase    Phase     `json:"phase"`
	Reason   string    `json:"reason,omitempty"`
	By       string    `json:"by,omitempty"`
	Attempt  int       `json:"attempt,omitempty"`
	Proposal *Proposal `json:"proposal,omitempty"`
}

func entered(p Phase) string { return phasePrefix + strings.ToLower(string(p)) }

func outcome(eventType string, p Phase) string {
	switch {
	case eventType == attemptRetried || p == Failed || p == TimedOut:
		return "failure"
	case p == Completed:
		return "success"
	}
	return "pending"
}

func (o *Orchestrator) record(r *Request, eventType string, e entry) {
	e.Target, e.Phase = r.Target, r.Phase
	if r.Proposal != (Proposal{}) {
		e.Proposal = &r.Proposal
	}
	data, err := json.Marshal(e)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	// The audit client counts what it drops: a full buffer must not stop a remediation.
	_ = o.Audit.Record(audit.Event{
		Type:          eventType,
		Timestamp:     o.Now().UTC(),
		Category:      Category,
		Action:        eventType[strings.LastIndexByte(eventType, '.')+1:],
		Outcome:       outcome(eventType, r.Phase),
		CorrelationID: r.ID,
		Data:          data,
	})
}

// Restore makes a request of its trail, oldest event first. A trail in which an
// event is missing is refused: better no remediation than one that is done twice.
func Restore(trail []audit.Event) (*Request, error) {
	if len(trail) == 0 {
		return nil, errors.New("restore: the trail is empty")
	}
	r := &Request{ID: trail[0].CorrelationID, Created: trail[0].Timestamp}
	for i, event := range trail {
		if err := r.apply(event); err != nil {
			return nil, fmt.Errorf("restore: event %d of %d: %w", i+1, len(trail), err)
		}
	}
	return r, nil
}

func (r *Request) apply(event audit.Event) error {
	var e entry
	if err := json.Unmarshal(event.Data, &e); err != nil {
		return err
	}
	if event.CorrelationID != r.ID || event.Category != Category {
		return fmt.Errorf("%s of %s is not an event of remediation %s", event.Type, event.CorrelationID, r.ID)
	}
	if strings.HasPrefix(event.Type, phasePrefix) {
		if e.From != r.Phase {
			return fmt.Errorf("comes from %q, but the trail is at %q", e.From, r.Phase)
		}
		if err := r.enter(e.Phase, event.Timestamp, e.Reason); err != nil {
			return err
		}
	}
	r.Target, r.Attempts = e.Target, e.Attempt
	if e.Proposal != nil {
		r.Proposal = *e.Proposal
	}
	return nil
}
