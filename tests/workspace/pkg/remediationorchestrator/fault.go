package remediationorchestrator

import (
	"strings"

	"github.com/kubernaut/workspace/pkg/audit"
)

// Faults are the names that Break knows, and the values of
// REMEDIATIONORCHESTRATOR_FAULT.
var Faults = []string{"forget-phase-limits", "never-ask", "lose-end"}

// Break breaks one behaviour on purpose, so that a suite can be seen to fail.
// Empty breaks nothing.
func (o *Orchestrator) Break(fault string) {
	switch fault {
	case "forget-phase-limits":
		o.Policy.Phases = nil
	case "never-ask":
		o.Policy.MinConfidence = 0
	case "lose-end":
		o.Audit = loseEnd{o.Audit}
	}
}

type loseEnd struct{ Recorder }

func (l loseEnd) Record(e audit.Event) error {
	for _, p := range []Phase{Completed, Failed, TimedOut} {
		if strings.EqualFold(e.Type, entered(p)) {
			return nil
		}
	}
	return l.Recorder.Record(e)
}
