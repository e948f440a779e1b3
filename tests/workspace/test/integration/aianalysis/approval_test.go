package aianalysis_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/aianalysis"
)

var _ = Describe("Approval", func() {
	DescribeTable("depends on confidence and environment",
		func(ctx SpecContext, signal, deployment, environment string, want aianalysis.Verdict) {
			about := incident(signal)
			about.Context = aianalysis.Context{Environment: environment, RecentDeployment: deployment}
			a := newTeam(holmes.URL).run(ctx, aianalysis.New(about))
			Expect(a.Decision.Verdict).To(Equal(want), a.Decision.Reason)
		},
		Entry("nobody is asked about 0.95 in production", "OOMKilled", "", "production", aianalysis.Execute),
		Entry("a human is asked about 0.88 in production", "CrashLoopBackOff", "v42", "production", aianalysis.Approve),
		Entry("nobody is asked about 0.88 in staging", "CrashLoopBackOff", "v42", "staging", aianalysis.Execute),
		Entry("nobody is asked about 0.82 in development", "NodeNotReady", "", "development", aianalysis.Execute),
		Entry("a human is asked about 0.55 even in development", "CrashLoopBackOff", "", "development", aianalysis.Approve),
	)

	It("leaves an incident without a workflow to a human", func(ctx SpecContext) {
		a := newTeam(holmes.URL).run(ctx, aianalysis.New(incident("SolarFlare")))
		Expect(a.Finding.Workflow).To(BeNil())
		Expect(a.Decision).To(Equal(aianalysis.Decision{Verdict: aianalysis.Escalate, Reason: "no_workflow"}))
	})

	It("leaves the decision and its reason in the trail", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		a := team.run(ctx, aianalysis.New(incident("NodeNotReady")))
		Expect(data(team.trail(ctx, a), "decided")).To(And(
			HaveKeyWithValue("verdict", "Approve"),
			HaveKeyWithValue("reason", "confidence 0.82 is less than 0.90, the least in production"),
		))
	})
})

var _ = Describe("A recovery", func() {
	It("recommends another workflow than the one that failed", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		first := team.run(ctx, aianalysis.New(incident("NodeNotReady")))
		second := team.recovery(ctx, first)
		Expect(first.Finding.Workflow.ID).To(Equal("drain-node"))
		Expect(second.Finding.Workflow.ID).To(Equal("reboot-node"))
	})

	It("is less certain than the analysis before", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		first := team.run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(team.recovery(ctx, first).Finding.Confidence).To(BeNumerically("~", first.Finding.Confidence-0.15, 0.001))
	})

	It("asks for an approval that the analysis before did not need", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		first := team.run(ctx, aianalysis.New(incident("OOMKilled")))
		Expect(first.Decision.Verdict).To(Equal(aianalysis.Execute))
		Expect(team.recovery(ctx, first).Decision.Verdict).To(Equal(aianalysis.Approve))
	})

	It("recommends the third workflow when two have failed", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		third := team.recovery(ctx, team.recovery(ctx, team.run(ctx, aianalysis.New(incident("NodeNotReady")))))
		Expect(third.Finding.Workflow.ID).To(Equal("replace-node"))
	})

	It("is left to a human when every workflow has failed", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		third := team.recovery(ctx, team.recovery(ctx, team.run(ctx, aianalysis.New(incident("OOMKilled")))))
		Expect(third.Finding.Workflow).To(BeNil())
		Expect(third.Decision).To(Equal(aianalysis.Decision{Verdict: aianalysis.Escalate, Reason: "workflows_exhausted"}))
	})

	It("is not begun when the incident has had all its analyses", func(ctx SpecContext) {
		first := newTeam(holmes.URL).run(ctx, aianalysis.New(incident("OOMKilled")))
		_, err := first.Recover("timed out", 1)
		Expect(err).To(MatchError(aianalysis.ErrTooManyAttempts))
	})

	It("is not begun when there was no workflow that could have failed", func(ctx SpecContext) {
		first := newTeam(holmes.URL).run(ctx, aianalysis.New(incident("SolarFlare")))
		_, err := first.Recover("timed out", 3)
		Expect(err).To(MatchError(ContainSubstring("no workflow that could have failed")))
	})

	It("continues the trail of its incident", func(ctx SpecContext) {
		team := newTeam(holmes.URL)
		second := team.recovery(ctx, team.run(ctx, aianalysis.New(incident("OOMKilled"))))
		trail := team.trail(ctx, second)
		Expect(trail).To(HaveLen(8))
		Expect(data(trail[:4], "completed")).To(And(
			HaveKeyWithValue("number", 1.0), HaveKeyWithValue("workflow_id", "increase-memory-limit")))
		Expect(data(trail[4:], "completed")).To(And(
			HaveKeyWithValue("number", 2.0), HaveKeyWithValue("workflow_id", "restart-pod")))
	})
})
