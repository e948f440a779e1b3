package aianalysis_test

import (
	"context"
	"errors"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/aianalysis"
	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("HolmesGPT-API", func() {
	var client aianalysis.Holmes

	BeforeEach(func() { client = aianalysis.Holmes{URL: holmes.URL, Timeout: 10 * time.Second} })

	It("is ready: it has its mock mode", func(ctx SpecContext) {
		Expect(holmes.Get(ctx, "/ready").Body).To(MatchJSON(`{"status": "ready"}`))
	})

	It("finds a cause that names the resource", func(ctx SpecContext) {
		finding, err := client.Investigate(ctx, incident("OOMKilled"), nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(finding.RootCause).To(Equal("Pod/shop/payments-7d9f needs more memory than its limit allows"))
	})

	It("recommends a workflow with its parameters, and an alternative", func(ctx SpecContext) {
		about := incident("CrashLoopBackOff")
		about.Context.RecentDeployment = "payments-v42"
		finding, err := client.Investigate(ctx, about, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(finding.Workflow).To(HaveValue(Equal(aianalysis.Workflow{
			ID: "rollback-deployment", Parameters: map[string]string{"revision": "payments-v42"},
		})))
		Expect(finding.Alternatives).To(ConsistOf(HaveField("ID", "restart-pod")))
	})

	It("gives the same answer to the same question", func(ctx SpecContext) {
		about := incident("NodeNotReady")
		first, err := client.Investigate(ctx, about, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(client.Investigate(ctx, about, nil)).To(Equal(first))
	})

	It("names the field that it refuses", func(ctx SpecContext) {
		about := incident("OOMKilled")
		about.Context.Environment = "moon"
		_, err := client.Investigate(ctx, about, nil)
		var refused *problem.Problem
		Expect(errors.As(err, &refused)).To(BeTrue(), "%v", err)
		Expect(refused.Status).To(Equal(http.StatusBadRequest))
		Expect(refused.Errors).To(ConsistOf(HaveField("Field", "context.environment")))
	})
})

var _ = Describe("An analysis", func() {
	It("goes from pending to completed", func(ctx SpecContext) {
		a := newTeam(holmes.URL).run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(a.History).To(Equal([]aianalysis.Phase{
			aianalysis.Pending, aianalysis.Investigating, aianalysis.Analyzing, aianalysis.Completed,
		}))
		Expect(a.Tries).To(Equal(1))
	})

	It("leaves every step in its trail, in the order in which it happened", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		a := team.run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(actions(team.trail(ctx, a))).To(Equal([]string{"investigating", "analyzing", "decided", "completed"}))
	})

	It("says in its trail what was found", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		a := team.run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(data(team.trail(ctx, a), "completed")).To(And(
			HaveKeyWithValue("confidence", 0.95),
			HaveKeyWithValue("workflow_id", "increase-memory-limit"),
			HaveKeyWithValue("root_cause", a.Finding.RootCause),
		))
	})

	It("is found by its category", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		a := team.run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(team.trail(ctx, a)).To(HaveEach(HaveField("Category", "analysis")))
		found := storage.Find(ctx, "correlation_id", a.Incident.CorrelationID, "event_category", "analysis")
		Expect(found.Types()).To(ContainElement("aianalysis.analysis.completed"))
	})

	It("shares its trail with HolmesGPT-API, which writes its own events", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		a := team.run(ctx, aianalysis.New(incident("OOMKilled")))
		find := func() []audit.Event {
			return storage.Find(ctx, "correlation_id", a.Incident.CorrelationID, "event_type", "holmesgpt.incident.analyzed").Data
		}
		Eventually(ctx, find, "20s", "100ms").Should(HaveLen(1))
		Expect(data(find(), "analyzed")).To(HaveKeyWithValue("analysis_id", a.Finding.ID))
	})

	It("does not run twice", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		a := team.run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(team.Run(ctx, a)).To(MatchError(ContainSubstring("no way from Completed to Investigating")))
		Expect(team.trail(ctx, a)).To(HaveLen(4))
	})

	It("fails at once when it is refused", func(ctx SpecContext) {
		a := aianalysis.New(incident(""))
		Expect(newTeam(holmes.URL).Run(ctx, a)).To(MatchError(ContainSubstring("signal.type")))
		Expect(a.Phase).To(Equal(aianalysis.Failed))
		Expect(a.Tries).To(Equal(1))
	})

	It("says in its trail why it failed", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		a := aianalysis.New(incident(""))
		Expect(team.Run(ctx, a)).NotTo(Succeed())
		trail := team.trail(ctx, a)
		Expect(data(trail, "failed")).To(HaveKeyWithValue("error", ContainSubstring("signal.type")))
		Expect(trail[len(trail)-1].Outcome).To(Equal("failure"))
	})

	It("is left investigating when it is interrupted", func(ctx SpecContext) {
		address, _ := holmes.Stuck()
		team := newTeam(address)
		a := aianalysis.New(incident("OOMKilled"))
		impatient, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		Expect(team.Run(impatient, a)).To(MatchError(context.DeadlineExceeded))
		Expect(a.Phase).To(Equal(aianalysis.Investigating))
		Expect(actions(team.trail(ctx, a))).To(Equal([]string{"investigating"}))
	})

	It("keeps apart from eight others at the same time", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		analyses := make(chan *aianalysis.Analysis, 8)
		InParallel(8, func() { analyses <- team.run(ctx, aianalysis.New(incident("OOMKilled"))) })
		close(analyses)
		for a := range analyses {
			trail := team.trail(ctx, a)
			Expect(actions(trail)).To(Equal([]string{"investigating", "analyzing", "decided", "completed"}))
			Expect(data(trail, "completed")).To(HaveKeyWithValue("incident_id", a.Incident.ID))
		}
	})
})

var _ = Describe("A HolmesGPT-API in trouble", func() {
	It("is asked again while it answers 503", func(ctx SpecContext) {
		a := newTeam(holmes.Flaky(2, http.StatusServiceUnavailable)).run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(a.Phase).To(Equal(aianalysis.Completed))
		Expect(a.Tries).To(Equal(3))
	})

	It("is asked again when its answer was lost", func(ctx SpecContext) {
		a := newTeam(holmes.LosingFirstAnswer()).run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(a.Finding.Workflow).To(HaveValue(HaveField("ID", "increase-memory-limit")))
		Expect(a.Tries).To(Equal(2))
	})

	It("leaves each retry in the trail, with its reason", func(ctx SpecContext) {
		team := newTeam(holmes.Flaky(1, http.StatusServiceUnavailable))
		a := team.run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(data(team.trail(ctx, a), "retried")).To(HaveKeyWithValue("error", ContainSubstring("503")))
	})

	It("is given up after the last try", func(ctx SpecContext) {
		a := aianalysis.New(incident("OOMKilled"))
		Expect(newTeam(holmes.Flaky(1000, http.StatusServiceUnavailable)).Run(ctx, a)).To(MatchError(ContainSubstring("503")))
		Expect(a.Phase).To(Equal(aianalysis.Failed))
		Expect(a.Tries).To(Equal(3))
	})

	It("is not asked again after an error of its own", func(ctx SpecContext) {
		a := aianalysis.New(incident("OOMKilled"))
		Expect(newTeam(holmes.Flaky(1, http.StatusInternalServerError)).Run(ctx, a)).To(MatchError(ContainSubstring("500")))
		Expect(a.Tries).To(Equal(1))
	})

	It("is not waited for longer than the client's timeout", func(ctx SpecContext) {
		address, _ := holmes.Stuck()
		team := newTeam(address)
		team.Holmes = aianalysis.Holmes{URL: address, Timeout: 50 * time.Millisecond}
		a := aianalysis.New(incident("OOMKilled"))
		Expect(team.Run(ctx, a)).To(MatchError(context.DeadlineExceeded))
		Expect(a.Phase).To(Equal(aianalysis.Failed))
	})
})
