package aianalysis

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
)

// holmes answers with its errors, one after another, and then with the finding.
type holmes struct {
	errs    []error
	finding Finding
	asked   int
}

func (h *holmes) Investigate(context.Context, Incident, []Attempt) (Finding, error) {
	h.asked++
	if h.asked <= len(h.errs) {
		return Finding{}, h.errs[h.asked-1]
	}
	return h.finding, nil
}

type trail []audit.Event

func (t *trail) Record(e audit.Event) error {
	*t = append(*t, e)
	return nil
}

var (
	sure        = Finding{Confidence: 0.95, Workflow: &Workflow{ID: "restart-pod"}}
	unavailable = problem.New(http.StatusServiceUnavailable, "llm-not-configured", "No LLM", "none")
)

func controller(h *holmes) (*Controller, *trail) {
	recorded := &trail{}
	return &Controller{Holmes: h, Approval: DefaultApproval, Retry: RetryPolicy{MaxTries: 3}, Audit: recorded}, recorded
}

func TestAnAnalysisGoesThroughItsPhases(t *testing.T) {
	c, recorded := controller(&holmes{finding: sure})
	a := New(Incident{Context: Context{Environment: "production"}})
	if err := c.Run(context.Background(), a); err != nil {
		t.Fatal(err)
	}
	if want := []Phase{Pending, Investigating, Analyzing, Completed}; !slices.Equal(a.History, want) {
		t.Errorf("%v, want %v", a.History, want)
	}
	if a.Decision.Verdict != Execute || len(*recorded) != 4 {
		t.Errorf("%+v, %d events", a.Decision, len(*recorded))
	}
	for _, e := range *recorded {
		e.ID, e.Version, e.Timestamp, e.CorrelationID = "", audit.Version, time.Now(), "c"
		if errs := e.Validate(); errs != nil {
			t.Errorf("%s: %v", e.Type, errs)
		}
	}
}

func TestWhatPassesIsTriedAgain(t *testing.T) {
	h := &holmes{errs: []error{unavailable, errors.New("connection reset")}, finding: sure}
	c, _ := controller(h)
	a := New(Incident{})
	if err := c.Run(context.Background(), a); err != nil || a.Tries != 3 || a.Phase != Completed {
		t.Errorf("%v after %d tries: %v", a.Phase, a.Tries, err)
	}
}

func TestItGivesUpAfterTheLastTry(t *testing.T) {
	h := &holmes{errs: []error{unavailable, unavailable, unavailable, unavailable}}
	c, recorded := controller(h)
	a := New(Incident{})
	if err := c.Run(context.Background(), a); !errors.Is(err, unavailable) || a.Phase != Failed || h.asked != 3 {
		t.Errorf("%v after %d tries: %v", a.Phase, h.asked, err)
	}
	if last := (*recorded)[len(*recorded)-1]; last.Type != "aianalysis.analysis.failed" || last.Outcome != "failure" {
		t.Errorf("%+v", last)
	}
}

func TestARefusalIsNotRepeated(t *testing.T) {
	for _, err := range []error{problem.New(http.StatusBadRequest, "x", "", ""), &json.SyntaxError{}} {
		h := &holmes{errs: []error{err}}
		c, _ := controller(h)
		if got := c.Run(context.Background(), New(Incident{})); !errors.Is(got, err) || h.asked != 1 {
			t.Errorf("%d tries: %v", h.asked, got)
		}
	}
}

func TestAnAnalysisRunsOnce(t *testing.T) {
	c, recorded := controller(&holmes{finding: sure})
	for _, phase := range []Phase{Investigating, Analyzing, Completed, Failed} {
		a := &Analysis{Phase: phase}
		if err := c.Run(context.Background(), a); err == nil || a.Phase != phase || len(*recorded) != 0 {
			t.Errorf("%s: %v, %+v", phase, err, a)
		}
	}
}

func TestItIsLeftInvestigatingWhenTheContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c, _ := controller(&holmes{errs: []error{unavailable}})
	c.Retry.Base, c.Retry.Max = time.Hour, time.Hour
	a := New(Incident{})
	if err := c.Run(ctx, a); !errors.Is(err, context.Canceled) || a.Phase != Investigating {
		t.Errorf("%v: %v", a.Phase, err)
	}
}

func TestWaitDoublesUpToItsLimit(t *testing.T) {
	policy := RetryPolicy{Base: time.Second, Max: 5 * time.Second}
	for try, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 5, 1000: 5} {
		if got := policy.Wait(try); got != want*time.Second {
			t.Errorf("try %d: %v, want %v", try, got, want*time.Second)
		}
	}
}

func TestApproval(t *testing.T) {
	restart := &Workflow{ID: "restart-pod"}
	for name, one := range map[string]struct {
		environment string
		finding     Finding
		want        Verdict
	}{
		"exactly the least":       {"production", Finding{Confidence: 0.9, Workflow: restart}, Execute},
		"less than the least":     {"production", Finding{Confidence: 0.89, Workflow: restart}, Approve},
		"enough in staging":       {"staging", Finding{Confidence: 0.89, Workflow: restart}, Execute},
		"an unknown environment":  {"moon", Finding{Confidence: 1, Workflow: restart}, Approve},
		"a review that is wanted": {"development", Finding{Confidence: 1, Workflow: restart, NeedsHumanReview: true}, Approve},
		"no workflow":             {"development", Finding{Confidence: 1}, Escalate},
	} {
		if got := DefaultApproval.Decide(one.environment, one.finding); got.Verdict != one.want {
			t.Errorf("%s: %+v, want %s", name, got, one.want)
		}
	}
}

func TestARecoveryKnowsAllThatWasAttempted(t *testing.T) {
	a := &Analysis{Incident: Incident{ID: "i"}, Phase: Completed, Finding: sure}
	second, err := a.Recover("timed out", 3)
	if err != nil {
		t.Fatal(err)
	}
	second.Phase, second.Finding = Completed, Finding{Workflow: &Workflow{ID: "drain-node"}}
	third, err := second.Recover("denied", 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []Attempt{{"restart-pod", "timed out"}, {"drain-node", "denied"}}
	if !slices.Equal(third.Attempts, want) || len(second.Attempts) != 1 || third.Number() != 3 {
		t.Errorf("%+v, then %+v", second.Attempts, third.Attempts)
	}
	third.Phase, third.Finding = Completed, sure
	if _, err := third.Recover("again", 3); !errors.Is(err, ErrTooManyAttempts) {
		t.Errorf("a fourth: %v", err)
	}
}

func TestThereIsNoRecoveryWithoutAWorkflow(t *testing.T) {
	for _, a := range []*Analysis{{Phase: Failed, Finding: sure}, {Phase: Completed}} {
		if _, err := a.Recover("x", 3); err == nil {
			t.Errorf("%+v", a)
		}
	}
}

func TestARefusalThatIsNoProblemKeepsItsStatusAndText(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "upstream is gone", http.StatusBadGateway)
	}))
	defer server.Close()
	_, err := Holmes{URL: server.URL, Timeout: 10 * time.Second}.Investigate(context.Background(), Incident{}, nil)
	var refused *problem.Problem
	if !errors.As(err, &refused) || refused.Status != http.StatusBadGateway || !strings.Contains(refused.Detail, "upstream is gone") {
		t.Errorf("%v", err)
	}
}
