// Package remediationorchestrator_test is the Remediation Orchestrator team's
// suite. The services that a remediation goes through are scripted and the clock
// is the spec's own; the trail is written to a real DataStorage and read back.
package remediationorchestrator_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/fault"
	remediation "github.com/kubernaut/workspace/pkg/remediationorchestrator"
	. "github.com/kubernaut/workspace/test/support"
)

var (
	storage Storage
	broken  string
)

func TestRemediationOrchestrator(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Remediation orchestrator integration")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	var err error
	broken, err = fault.Named("REMEDIATIONORCHESTRATOR_FAULT", remediation.Faults...)
	Expect(err).NotTo(HaveOccurred())
	storage = Storage{URL: Required("DATA_STORAGE_URL")}
	storage.WaitUntilHealthy(ctx)
})

var (
	sure     = remediation.Proposal{Workflow: "restart-pod", Confidence: 0.9}
	doubtful = remediation.Proposal{Workflow: "drain-node", Confidence: 0.4}
)

// services are scripted: each attempt takes the next error of its phase, and
// each analysis the next proposal. What is not scripted works.
type services struct {
	errs      map[remediation.Phase][]error
	proposals []remediation.Proposal
	calls     map[remediation.Phase][]remediation.Request
	during    func() // every call
}

func (s *services) call(r remediation.Request) error {
	s.calls[r.Phase] = append(s.calls[r.Phase], r)
	if s.during != nil {
		s.during()
	}
	if n := len(s.calls[r.Phase]); n <= len(s.errs[r.Phase]) {
		return s.errs[r.Phase][n-1]
	}
	return nil
}

func (s *services) Process(_ context.Context, r remediation.Request) error { return s.call(r) }
func (s *services) Execute(_ context.Context, r remediation.Request) error { return s.call(r) }
func (s *services) Analyze(_ context.Context, r remediation.Request) (remediation.Proposal, error) {
	err := s.call(r)
	if n := len(s.calls[r.Phase]); n <= len(s.proposals) {
		return s.proposals[n-1], err
	}
	return sure, err
}

// control is an orchestrator with everything that it depends on.
type control struct {
	*remediation.Orchestrator
	services *services
	client   *audit.Client
	now      time.Time
}

// newControl writes to a DataStorage at url.
func newControl(url string) *control {
	GinkgoHelper()
	c := &control{
		services: &services{errs: map[remediation.Phase][]error{}, calls: map[remediation.Phase][]remediation.Request{}},
		client:   NewAuditClient(url, func(*audit.Config) {}),
		now:      time.Now().UTC().Truncate(time.Microsecond),
	}
	DeferCleanup(c.client.Close)
	c.Orchestrator = &remediation.Orchestrator{
		Stages: c.services,
		Audit:  c.client,
		Now:    func() time.Time { return c.now },
		Policy: remediation.Policy{
			MinConfidence: 0.7, MaxAttempts: 3, MaxRecoveries: 1, Backoff: 10 * time.Second, Whole: 2 * time.Hour,
			Phases: map[remediation.Phase]time.Duration{
				remediation.Processing: 5 * time.Minute, remediation.Analyzing: 10 * time.Minute,
				remediation.AwaitingApproval: 15 * time.Minute, remediation.Executing: 30 * time.Minute,
			},
		},
	}
	c.Break(broken)
	return c
}

func (c *control) advance(d time.Duration) { c.now = c.now.Add(d) }

func (c *control) begin() *remediation.Request {
	GinkgoHelper()
	r, err := c.Create(UniqueID("remediation"), "prod/deployment/web")
	Expect(err).NotTo(HaveOccurred())
	return r
}

func (c *control) step(ctx context.Context, r *remediation.Request) {
	GinkgoHelper()
	Expect(c.Step(ctx, r)).To(Succeed())
}

// reach steps, a second between two steps, until r is in the phase.
func (c *control) reach(ctx context.Context, r *remediation.Request, phase remediation.Phase) {
	GinkgoHelper()
	for range 100 {
		if r.Phase == phase {
			return
		}
		c.advance(time.Second)
		c.step(ctx, r)
	}
	Fail("the remediation never got to " + string(phase) + ", but to " + string(r.Phase))
}

// trail is what r left behind, oldest first, when everything is written.
func (c *control) trail(ctx context.Context, r *remediation.Request) []audit.Event {
	GinkgoHelper()
	Expect(CloseInTime(ctx, c.client)).To(Succeed())
	return storage.Trail(ctx, r.ID)
}

// actions of a trail, in its order.
func actions(trail []audit.Event) []string {
	names := make([]string, len(trail))
	for i, e := range trail {
		names[i] = e.Action
	}
	return names
}

func data(e audit.Event) map[string]any {
	GinkgoHelper()
	var values map[string]any
	Expect(json.Unmarshal(e.Data, &values)).To(Succeed())
	return values
}
