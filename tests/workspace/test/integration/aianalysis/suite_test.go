// Package aianalysis_test is the AI Analysis team's suite: a real HolmesGPT-API
// in mock mode is asked, and the trail of both is read back from DataStorage.
package aianalysis_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/aianalysis"
	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/fault"
	. "github.com/kubernaut/workspace/test/support"
)

var (
	storage Storage
	holmes  Storage // HolmesGPT-API, as a plain HTTP client sees it
	broken  string
)

func TestAIAnalysis(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "AI analysis integration")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	var err error
	broken, err = fault.Named("AIANALYSIS_FAULT", aianalysis.Faults...)
	Expect(err).NotTo(HaveOccurred())
	storage = Storage{URL: Required("DATA_STORAGE_URL")}
	holmes = Storage{URL: Required("HOLMESGPT_API_URL")}
	storage.WaitUntilHealthy(ctx)
	Expect(holmes.Get(ctx, "/health").Body).To(MatchJSON(`{"status": "healthy"}`))
})

// team is a controller with everything that it depends on.
type team struct {
	*aianalysis.Controller
	client *audit.Client
}

// newTeam asks the HolmesGPT-API at url, at most three times.
func newTeam(url string) *team {
	GinkgoHelper()
	t := &team{client: NewAuditClient(storage.URL, func(*audit.Config) {})}
	DeferCleanup(t.client.Close)
	t.Controller = &aianalysis.Controller{
		Holmes:   aianalysis.Holmes{URL: url, Timeout: 10 * time.Second},
		Approval: aianalysis.DefaultApproval,
		Retry:    aianalysis.RetryPolicy{MaxTries: 3, Base: time.Millisecond, Max: 2 * time.Millisecond},
		Audit:    t.client,
	}
	t.Break(broken)
	return t
}

// run takes an analysis to its end.
func (t *team) run(ctx context.Context, a *aianalysis.Analysis) *aianalysis.Analysis {
	GinkgoHelper()
	Expect(t.Run(ctx, a)).To(Succeed())
	return a
}

// recovery is the analysis after the workflow that a recommended has failed, at its end.
func (t *team) recovery(ctx context.Context, a *aianalysis.Analysis) *aianalysis.Analysis {
	GinkgoHelper()
	next, err := a.Recover("timed out", 5)
	Expect(err).NotTo(HaveOccurred())
	return t.run(ctx, next)
}

// trail is what this team left behind, oldest first, when everything is written.
// HolmesGPT-API writes its own events of the same correlation id.
func (t *team) trail(ctx context.Context, a *aianalysis.Analysis) []audit.Event {
	GinkgoHelper()
	Expect(CloseInTime(ctx, t.client)).To(Succeed())
	var ours []audit.Event
	for _, e := range storage.Trail(ctx, a.Incident.CorrelationID) {
		if strings.HasPrefix(e.Type, "aianalysis.") {
			ours = append(ours, e)
		}
	}
	return ours
}

// incident is valid; specs change what they are about.
func incident(signal string) aianalysis.Incident {
	return aianalysis.Incident{
		ID:            UniqueID("incident"),
		CorrelationID: UniqueID("aianalysis"),
		Signal:        aianalysis.Signal{Type: signal, Severity: "critical", Message: "seen by Prometheus"},
		Resource:      aianalysis.Resource{Kind: "Pod", Name: "payments-7d9f", Namespace: "shop"},
		Context:       aianalysis.Context{Environment: "production"},
	}
}

func actions(trail []audit.Event) []string {
	names := make([]string, len(trail))
	for i, e := range trail {
		names[i] = e.Action
	}
	return names
}

// data of the event of that action, of which the trail has to have one.
func data(trail []audit.Event, action string) map[string]any {
	GinkgoHelper()
	var found []map[string]any
	for _, e := range trail {
		if e.Action == action {
			var values map[string]any
			Expect(json.Unmarshal(e.Data, &values)).To(Succeed())
			found = append(found, values)
		}
	}
	Expect(found).To(HaveLen(1), "%s among %v", action, actions(trail))
	return found[0]
}
