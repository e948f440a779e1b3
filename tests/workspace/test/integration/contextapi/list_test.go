package contextapi_test

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
)

var _ = Describe("Listing actions", func() {
	var service *replica
	BeforeEach(func() { service = newReplica(prefix()) })

	DescribeTable("finds by", func(ctx SpecContext, filter, value string, other action) {
		found := remember(ctx, other, action{})
		Expect(ids(service.list(ctx, filter, value).Data)).To(Equal(found[:1]))
	},
		Entry("cluster", "cluster", "west", action{cluster: "west"}),
		Entry("namespace", "namespace", "orders", action{namespace: "orders"}),
		Entry("kind", "kind", "StatefulSet", action{kind: "StatefulSet"}),
		Entry("name", "name", "ledger", action{name: "ledger"}),
		Entry("action type", "action_type", "scale", action{kindOf: "scale"}),
		Entry("status", "status", "rolled_back", action{status: "rolled_back"}),
	)

	It("finds only what all of several filters match", func(ctx SpecContext) {
		found := remember(ctx,
			action{namespace: "orders", kindOf: "scale"},
			action{namespace: "orders", kindOf: "scale", status: "failed"},
			action{namespace: "orders", status: "failed"},
			action{kindOf: "scale", status: "failed"})
		page := service.list(ctx, "namespace", "orders", "action_type", "scale", "status", "failed")
		Expect(ids(page.Data)).To(Equal(found[1:2]))
	})

	It("includes an action of since and excludes one of until", func(ctx SpecContext) {
		actions := series(4)
		found := remember(ctx, actions...)
		page := service.list(ctx, "since", actions[1].at.Format(time.RFC3339), "until", actions[3].at.Format(time.RFC3339))
		Expect(ids(page.Data)).To(Equal([]int64{found[2], found[1]}))
	})

	It("lists the newest first", func(ctx SpecContext) {
		newest, oldest, middle := action{at: noon}, action{at: noon.Add(-time.Hour)}, action{at: noon.Add(-time.Minute)}
		found := remember(ctx, newest, oldest, middle)
		Expect(ids(service.list(ctx).Data)).To(Equal([]int64{found[0], found[2], found[1]}))
	})

	It("lists the one written last first of those that happened at once", func(ctx SpecContext) {
		found := remember(ctx, make([]action, 5)...)
		slices.Reverse(found)
		Expect(ids(service.list(ctx).Data)).To(Equal(found))
	})

	It("tells all that was recorded of an action", func(ctx SpecContext) {
		remember(ctx, action{cluster: "west", namespace: "orders", kind: "Pod", name: "db-0", kindOf: "scale",
			status: "failed", parameters: `{"replicas": 3}`, score: 0.125, at: noon}, action{at: noon.Add(-time.Hour)})
		found := service.list(ctx).Data
		Expect(found).To(HaveLen(2))
		Expect(found[0].Resource).To(Equal(contextapi.Resource{Cluster: "west", Namespace: "orders", Kind: "Pod", Name: "db-0"}))
		Expect(found[0].Parameters).To(MatchJSON(`{"replicas": 3}`))
		Expect(found[0]).To(And(HaveField("Type", "scale"), HaveField("Status", "failed"),
			HaveField("Timestamp", noon), HaveField("Effectiveness", HaveValue(Equal(0.125)))))
		Expect(found[1].Effectiveness).To(BeNil(), "nobody has judged it")
	})

	It("cuts a page at its limit, and says whether there is more", func(ctx SpecContext) {
		remember(ctx, series(5)...)
		first, last := service.list(ctx, "limit", "3"), service.list(ctx, "limit", "3", "offset", "3")
		Expect(first.Data).To(HaveLen(3))
		Expect(first.Pagination).To(Equal(contextapi.Pagination{Limit: 3, Offset: 0, Total: 5, HasMore: true}))
		Expect(last.Data).To(HaveLen(2))
		Expect(last.Pagination).To(Equal(contextapi.Pagination{Limit: 3, Offset: 3, Total: 5, HasMore: false}))
	})

	It("meets every action once when all pages are read", func(ctx SpecContext) {
		found := remember(ctx, make([]action, 11)...) // all at once: the order must not depend on luck
		var met []int64
		for offset := 0; offset < 11; offset += 3 {
			met = append(met, ids(service.list(ctx, "limit", "3", "offset", strconv.Itoa(offset)).Data)...)
		}
		Expect(met).To(ConsistOf(found))
	})

	It("answers a page beyond the end with an empty array", func(ctx SpecContext) {
		remember(ctx, action{})
		resp := service.api.Get(ctx, contextapi.ActionsPath+"?limit=10&offset="+strconv.Itoa(offset))
		Expect(resp.Status).To(Equal(http.StatusOK))
		Expect(resp.Body).To(MatchJSON(`{"data": [], "pagination": {"limit": 10, "offset": ` + strconv.Itoa(offset) +
			`, "total": 1, "has_more": false}}`))
	})

	It("gives 50 actions when no limit is asked for", func(ctx SpecContext) {
		remember(ctx, make([]action, 51)...)
		Expect(service.list(ctx).Data).To(HaveLen(50))
	})

	It("finds nothing for a filter that has SQL in it", func(ctx SpecContext) {
		remember(ctx, action{})
		Expect(service.list(ctx, "name", "' OR '1'='1").Data).To(BeEmpty())
	})
})

var _ = Describe("One action", func() {
	It("is found by its id, as the list has it", func(ctx SpecContext) {
		service := newReplica(prefix())
		remember(ctx, action{kindOf: "scale", score: 0.5}, action{})
		want := service.list(ctx, "action_type", "scale").Data[0]
		Expect(get[contextapi.Action](ctx, service, contextapi.ActionsPath+"/"+want.ActionID)).To(Equal(want))
	})

	It("has the status that it has now, whatever a cached page says", func(ctx SpecContext) {
		service := newReplica(prefix())
		remember(ctx, action{status: "executing"})
		id := service.list(ctx).Data[0].ActionID
		_, err := database.Exec(ctx, `UPDATE action_traces SET status = 'failed'`)
		Expect(err).NotTo(HaveOccurred())
		Expect(service.list(ctx).Data[0].Status).To(Equal("executing"))
		Expect(get[contextapi.Action](ctx, service, contextapi.ActionsPath+"/"+id).Status).To(Equal("failed"))
	})
})
