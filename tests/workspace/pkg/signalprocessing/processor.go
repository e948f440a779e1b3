package signalprocessing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kubernaut/workspace/pkg/audit"
)

// Category of all events of this service.
const Category = "signalprocessing"

// Context is what a cluster knows about the object of a signal.
type Context struct {
	NamespaceLabels map[string]string
	Owner           string // deployment/web, of a pod for example
	Team            string
}

// Cluster is asked about objects.
type Cluster interface {
	Lookup(ctx context.Context, namespace, kind, object string) (Context, error)
}

// Sink takes what is processed.
type Sink interface {
	Take(ctx context.Context, p Processed) error
}

// Recorder is what a processor needs of an audit client.
type Recorder interface {
	Record(e audit.Event) error
}

// Processed is a signal with everything that is known about it.
type Processed struct {
	Signal      Signal
	Context     Context
	Fingerprint string
	Classification
	Count     int64 // of the incident's signals in the window, this one included
	Duplicate bool
	Degraded  []string // what was done without
}

// Processor takes signals to a sink.
type Processor struct {
	Cluster  Cluster
	Classify func(Signal, Context) Classification // Classify
	Window   Window
	Sink     Sink
	Audit    Recorder
	Now      func() time.Time
}

// Process takes a signal to the sink unless it is a repetition. Without cluster
// or window it does worse, but it does it: a signal is better processed twice
// than not at all.
func (p *Processor) Process(ctx context.Context, s Signal) (Processed, error) {
	p.record(s, "received", "pending", map[string]any{"source": s.Source, "severity": s.Severity})
	s, err := Normalize(s)
	if err != nil {
		p.record(s, "rejected", "failure", map[string]any{"error": err.Error()})
		return Processed{Signal: s}, err
	}
	done := Processed{Signal: s}
	p.enrich(ctx, &done)
	done.Classification = p.Classify(s, done.Context)
	p.record(s, "classified", "success", done.Classification)
	done.Fingerprint = Fingerprint(s, done.Context)
	p.count(ctx, &done)
	if done.Duplicate {
		p.record(s, "suppressed", "success", map[string]any{"fingerprint": done.Fingerprint, "count": done.Count})
		return done, nil
	}
	return done, p.forward(ctx, done)
}

func (p *Processor) enrich(ctx context.Context, done *Processed) {
	s, err := done.Signal, error(nil)
	done.Context, err = p.Cluster.Lookup(ctx, s.Namespace, s.Kind, s.Object)
	if err != nil {
		done.Degraded = append(done.Degraded, "cluster")
		p.record(s, "enriched", "failure", map[string]any{"error": err.Error()})
		return
	}
	p.record(s, "enriched", "success", map[string]any{"owner": done.Context.Owner, "team": done.Context.Team})
}

func (p *Processor) count(ctx context.Context, done *Processed) {
	count, isNew, err := p.Window.Enter(ctx, done.Fingerprint, done.Priority)
	if err != nil {
		done.Degraded = append(done.Degraded, "window")
		return
	}
	done.Count, done.Duplicate = count, !isNew
}

func (p *Processor) forward(ctx context.Context, done Processed) error {
	details := map[string]any{"fingerprint": done.Fingerprint, "count": done.Count, "degraded": done.Degraded}
	if err := p.Sink.Take(ctx, done); err != nil {
		details["error"] = err.Error()
		p.record(done.Signal, "failed", "failure", details)
		// What nobody took is no reason to suppress the next one.
		left := p.Window.Leave(context.WithoutCancel(ctx), done.Fingerprint)
		return errors.Join(fmt.Errorf("forward signal %s: %w", done.Signal.ID, err), left)
	}
	p.record(done.Signal, "forwarded", "success", details)
	return nil
}

func (p *Processor) record(s Signal, action, outcome string, details any) {
	data, err := json.Marshal(details)
	if err != nil {
		panic(err) // strings and numbers
	}
	// The audit client counts what it drops: a full buffer must not stop a signal.
	_ = p.Audit.Record(audit.Event{
		Type:          Category + ".signal." + action,
		Timestamp:     p.Now().UTC(),
		Category:      Category,
		Action:        action,
		Outcome:       outcome,
		CorrelationID: s.ID,
		Data:          data,
	})
}
