package signalprocessing

import "context"

// Faults are the names that Break knows, and the values of
// SIGNALPROCESSING_FAULT.
var Faults = []string{"forget-window", "ignore-labels", "flat-priority"}

// Break breaks one behaviour on purpose, so that a suite can be seen to fail.
// Empty breaks nothing.
func (p *Processor) Break(fault string) {
	classify := p.Classify
	switch fault {
	case "forget-window":
		p.Window = noWindow{}
	case "ignore-labels":
		p.Classify = func(s Signal, c Context) Classification {
			c.NamespaceLabels = nil
			return classify(s, c)
		}
	case "flat-priority":
		p.Classify = func(s Signal, c Context) Classification {
			classified := classify(s, c)
			classified.Priority = 2
			return classified
		}
	}
}

type noWindow struct{}

func (noWindow) Enter(context.Context, string, int) (int64, bool, error) { return 1, true, nil }
func (noWindow) Leave(context.Context, string) error                     { return nil }
