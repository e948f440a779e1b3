package aianalysis

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/kubernaut/workspace/pkg/audit"
)

// ErrTooManyAttempts is why there is no further recovery.
var ErrTooManyAttempts = errors.New("too many attempts")

// Investigator is asked for findings; see Holmes.
type Investigator interface {
	Investigate(ctx context.Context, incident Incident, attempts []Attempt) (Finding, error)
}

// Recorder is what a controller needs of an audit client.
type Recorder interface {
	Record(e audit.Event) error
}

// RetryPolicy bounds the requests of one analysis.
type RetryPolicy struct {
	MaxTries int
	Base     time.Duration // wait after the first try, doubled after each further one
	Max      time.Duration
}

// Wait is the time between a try, counted from 1, and the next.
func (p RetryPolicy) Wait(try int) time.Duration {
	wait := p.Base
	for ; try > 1 && wait < p.Max; try-- {
		wait *= 2
	}
	return min(wait, p.Max)
}

// Controller takes analyses through their phases.
type Controller struct {
	Holmes   Investigator
	Approval ApprovalPolicy
	Retry    RetryPolicy
	Audit    Recorder
}

// Run takes a pending analysis to its end and returns why it failed. When ctx
// ends first, the analysis is left Investigating.
func (c *Controller) Run(ctx context.Context, a *Analysis) error {
	if err := c.move(a, Investigating, nil); err != nil {
		return err
	}
	finding, err := c.investigate(ctx, a)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return errors.Join(err, c.move(a, Failed, map[string]any{"error": err.Error(), "tries": a.Tries}))
	}
	a.Finding = finding
	if err := c.move(a, Analyzing, map[string]any{"finding_id": finding.ID, "tries": a.Tries}); err != nil {
		return err
	}
	a.Decision = c.Approval.Decide(a.Incident.Context.Environment, finding)
	c.record(a, "approval.decided", "success", map[string]any{"verdict": a.Decision.Verdict, "reason": a.Decision.Reason})
	return c.move(a, Completed, map[string]any{
		"root_cause": finding.RootCause, "confidence": finding.Confidence, "workflow_id": workflowID(finding),
	})
}

func (c *Controller) investigate(ctx context.Context, a *Analysis) (Finding, error) {
	for {
		a.Tries++
		finding, err := c.Holmes.Investigate(ctx, a.Incident, a.Attempts)
		if err == nil || ctx.Err() != nil || !temporary(err) || a.Tries >= c.Retry.MaxTries {
			return finding, err
		}
		c.record(a, "investigation.retried", "failure", map[string]any{"error": err.Error(), "tries": a.Tries})
		select {
		case <-ctx.Done():
			return Finding{}, ctx.Err()
		case <-time.After(c.Retry.Wait(a.Tries)):
		}
	}
}

func (c *Controller) move(a *Analysis, to Phase, data map[string]any) error {
	if err := a.To(to); err != nil {
		return err
	}
	outcome := map[Phase]string{Completed: "success", Failed: "failure"}[to]
	if outcome == "" {
		outcome = "pending"
	}
	c.record(a, "analysis."+strings.ToLower(string(to)), outcome, data)
	return nil
}

// record adds to the trail. The audit client counts what it drops: a full buffer
// must not stop an analysis.
func (c *Controller) record(a *Analysis, kind, outcome string, data map[string]any) {
	all := map[string]any{"incident_id": a.Incident.ID, "number": a.Number()}
	for key, value := range data {
		all[key] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		return
	}
	_ = c.Audit.Record(audit.Event{
		Type:          "aianalysis." + kind,
		Category:      "analysis",
		Action:        kind[strings.IndexByte(kind, '.')+1:],
		Outcome:       outcome,
		CorrelationID: a.Incident.CorrelationID,
		Data:          text,
	})
}

func workflowID(f Finding) any {
	if f.Workflow == nil {
		return nil
	}
	return f.Workflow.ID
}
