// Package workflowexecution runs workflows against targets in the cluster, one
// at a time for each target: the name of an execution is a hash of its target,
// so a second one collides. It leaves a target alone for a while after each
// execution, longer after failures, and has an audit trail that may be written
// twice and is stored once.
package workflowexecution

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Phase of an execution.
type Phase string

const (
	Pending   Phase = "Pending"
	Running   Phase = "Running"
	Completed Phase = "Completed"
	Failed    Phase = "Failed"
	Skipped   Phase = "Skipped" // it never ran
)

var next = map[Phase][]Phase{
	"":      {Pending},
	Pending: {Running, Skipped},
	Running: {Completed, Failed},
}

// Ended says whether nothing comes after p.
func (p Phase) Ended() bool { return len(next[p]) == 0 }

// Reasons of a skipped or failed execution.
const (
	ResourceBusy       = "ResourceBusy"       // another execution has the target
	RecentlyRemediated = "RecentlyRemediated" // the target is left alone
	TaskFailed         = "TaskFailed"
	DeadlineExceeded   = "DeadlineExceeded"
	Cancelled          = "Cancelled"
	LockLost           = "LockLost"
)

// Order is what is asked for.
type Order struct {
	ID            string // of the order; the same order has the same events
	CorrelationID string // of the remediation
	Target        string // namespace/kind/name, or kind/name of what has no namespace
	Workflow      string
	Parameters    map[string]string
}

// Execution is what became of an order.
type Execution struct {
	Order   Order
	Name    string
	Phase   Phase
	Reason  string
	Message string
	History []Transition
}

// Transition is one move of an execution.
type Transition struct {
	From, To Phase
	At       time.Time
	Reason   string
	Message  string
}

// Name is the same for all executions of one target, whoever asks for them and
// whatever is to be run. It is valid for a Kubernetes object.
func Name(target string) (string, error) {
	parts := strings.Split(strings.TrimSpace(target), "/")
	if len(parts) != 2 && len(parts) != 3 {
		return "", fmt.Errorf("target %q is not namespace/kind/name or kind/name", target)
	}
	for i, part := range parts {
		if part == "" || strings.ContainsAny(part, " \t\n") {
			return "", fmt.Errorf("target %q: %q is not a name", target, part)
		}
		if i == len(parts)-2 {
			parts[i] = strings.ToLower(part) // kubectl takes Deployment and deployment alike
		}
	}
	hash := sha256.Sum256([]byte(strings.Join(parts, "/")))
	return "wfe-" + hex.EncodeToString(hash[:10]), nil
}

func (e *Execution) to(phase Phase, at time.Time, reason, message string) error {
	if !slices.Contains(next[e.Phase], phase) {
		return fmt.Errorf("execution %s: no way from %q to %q", e.Name, e.Phase, phase)
	}
	// A trail is read in the order of its timestamps, and DataStorage keeps microseconds.
	at = at.Truncate(time.Microsecond)
	if n := len(e.History); n > 0 && !at.After(e.History[n-1].At) {
		at = e.History[n-1].At.Add(time.Microsecond)
	}
	e.History = append(e.History, Transition{From: e.Phase, To: phase, At: at, Reason: reason, Message: message})
	e.Phase, e.Reason, e.Message = phase, reason, message
	return nil
}
