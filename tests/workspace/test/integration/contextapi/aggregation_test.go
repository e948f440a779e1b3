package contextapi_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
)

var _ = Describe("Success rates", func() {
	var service *replica
	BeforeEach(func() { service = newReplica(prefix()) })

	rates := func(ctx context.Context, parameters ...string) []contextapi.Rate {
		GinkgoHelper()
		return get[struct{ Data []contextapi.Rate }](ctx, service, contextapi.RatesPath, parameters...).Data
	}

	It("are of those that have ended, a rollback being a failure", func(ctx SpecContext) {
		remember(ctx, action{}, action{status: "failed"}, action{}, action{status: "rolled_back"}, action{},
			action{status: "pending"}, action{status: "executing"})
		Expect(rates(ctx, "group_by", "action_type")).To(HaveExactElements(And(
			HaveField("Total", 7), HaveField("Completed", 3), HaveField("Failed", 2), HaveField("SuccessRate", HaveValue(Equal(0.6))))))
	})

	It("are open where nothing has ended", func(ctx SpecContext) {
		remember(ctx, action{status: "pending"})
		Expect(rates(ctx, "group_by", "action_type")).To(HaveExactElements(And(HaveField("Total", 1), HaveField("SuccessRate", BeNil()))))
	})

	It("list what works best first, and what is not known last", func(ctx SpecContext) {
		remember(ctx, action{kindOf: "a-unknown", status: "executing"}, action{kindOf: "b-never", status: "failed"},
			action{kindOf: "c-half"}, action{kindOf: "c-half", status: "failed"}, action{kindOf: "d-always"})
		Expect(rates(ctx, "group_by", "action_type")).To(HaveExactElements(HaveField("Key", "d-always"),
			HaveField("Key", "c-half"), HaveField("Key", "b-never"), HaveField("Key", "a-unknown")))
	})

	DescribeTable("are grouped by", func(ctx SpecContext, group string, a, b action) {
		b.status = "failed"
		remember(ctx, a, b, a)
		Expect(rates(ctx, "group_by", group)).To(HaveExactElements(
			And(HaveField("Key", "first"), HaveField("Total", 2)), And(HaveField("Key", "second"), HaveField("Total", 1))))
	},
		Entry("cluster", "cluster", action{cluster: "first"}, action{cluster: "second"}),
		Entry("namespace", "namespace", action{namespace: "first"}, action{namespace: "second"}),
		Entry("kind", "kind", action{kind: "first"}, action{kind: "second"}),
	)

	It("are of what the filters match alone", func(ctx SpecContext) {
		remember(ctx, action{namespace: "orders"}, action{status: "failed"},
			action{namespace: "orders", status: "failed", at: noon.Add(-time.Hour)})
		found := rates(ctx, "group_by", "namespace", "namespace", "orders", "since", noon.Format(time.RFC3339))
		Expect(found).To(HaveExactElements(And(HaveField("Key", "orders"), HaveField("SuccessRate", HaveValue(Equal(1.0))))))
	})

	It("come with the average score of those that were judged", func(ctx SpecContext) {
		remember(ctx, action{score: 0.25}, action{score: 0.75}, action{})
		Expect(rates(ctx, "group_by", "kind")).To(HaveExactElements(HaveField("Effectiveness", HaveValue(BeNumerically("~", 0.5)))))
	})
})

var _ = Describe("Statistics", func() {
	var service *replica
	BeforeEach(func() { service = newReplica(prefix()) })

	It("count actions by status, and every status is there", func(ctx SpecContext) {
		remember(ctx, action{}, action{}, action{status: "failed"}, action{status: "pending"})
		found := get[contextapi.Statistics](ctx, service, contextapi.StatisticsPath)
		Expect(found.Total).To(Equal(4))
		Expect(found.ByStatus).To(Equal(map[string]int{"pending": 1, "executing": 0, "completed": 2, "failed": 1, "rolled_back": 0}))
	})

	It("count a resource once, however often it was acted on", func(ctx SpecContext) {
		remember(ctx, action{}, action{}, action{name: "ledger"}, action{cluster: "west"})
		Expect(get[contextapi.Statistics](ctx, service, contextapi.StatisticsPath).Resources).To(Equal(3))
	})

	It("tell the first and the last time of what the filters match", func(ctx SpecContext) {
		actions := series(4)
		actions[3].status = "failed"
		remember(ctx, actions...)
		found := get[contextapi.Statistics](ctx, service, contextapi.StatisticsPath, "status", "completed")
		Expect(found.First).To(HaveValue(BeTemporally("==", actions[0].at)))
		Expect(found.Last).To(HaveValue(BeTemporally("==", actions[2].at)))
	})

	It("are zeros of nothing", func(ctx SpecContext) {
		resp := service.api.Get(ctx, contextapi.StatisticsPath+"?namespace=nobody")
		Expect(resp.Body).To(MatchJSON(`{"total": 0, "resources": 0, "average_effectiveness": null, "first_action_at": null,
			"last_action_at": null, "by_status": {"pending": 0, "executing": 0, "completed": 0, "failed": 0, "rolled_back": 0}}`))
	})
})
