package contextapi_test

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
)

var _ = Describe("Searching for circumstances that are alike", func() {
	var service *replica
	BeforeEach(func() { service = newReplica(prefix()) })

	// near searches around the first axis.
	near := func(ctx context.Context, threshold float64, change func(*contextapi.SimilarQuery)) []contextapi.Match {
		GinkgoHelper()
		q := contextapi.SimilarQuery{Embedding: towards(0), Threshold: threshold}
		if change != nil {
			change(&q)
		}
		matches, _, err := service.Similar(ctx, q)
		Expect(err).NotTo(HaveOccurred())
		return matches
	}

	at := func(degrees float64) action { return action{embedding: towards(degrees)} }

	It("finds the nearest first", func(ctx SpecContext) {
		found := remember(ctx, at(40), at(10), at(70), at(25))
		Expect(matched(near(ctx, 0, nil))).To(Equal([]int64{found[1], found[3], found[0], found[2]}))
	})

	DescribeTable("says how much alike", func(ctx SpecContext, degrees, cosine float64) {
		remember(ctx, at(degrees))
		Expect(near(ctx, -1, nil)).To(ConsistOf(HaveField("Similarity", BeNumerically("~", cosine, 1e-5))))
	},
		Entry("a third of a half turn is", 60.0, 0.5),
		Entry("a right angle is", 90.0, 0.0),
		Entry("the opposite is", 180.0, -1.0),
	)

	It("leaves out what is less alike than the threshold", func(ctx SpecContext) {
		found := remember(ctx, at(29), at(31), at(120))
		Expect(matched(near(ctx, 0.866, nil))).To(Equal(found[:1])) // the cosine of 30 degrees
	})

	It("finds an equal direction at the highest threshold, however long its vector", func(ctx SpecContext) {
		long := towards(0)
		long[0] = 7.3
		found := remember(ctx, action{embedding: long}, at(5))
		Expect(matched(near(ctx, 1, nil))).To(Equal(found[:1]))
	})

	It("gives no more than its limit, and those are the nearest", func(ctx SpecContext) {
		found := remember(ctx, at(50), at(30), at(10), at(20))
		matches := near(ctx, 0, func(q *contextapi.SimilarQuery) { q.Limit = 2 })
		Expect(matched(matches)).To(Equal([]int64{found[2], found[3]}))
	})

	It("finds what its filters match although 60 others are nearer, also by the index", func(ctx SpecContext) {
		actions := make([]action, 60)
		for i := range actions {
			actions[i] = at(float64(i) / 10)
		}
		remember(ctx, actions...)
		found := remember(ctx, action{namespace: "orders", embedding: towards(45)}, action{namespace: "orders", embedding: towards(40)})
		inOrders := func(q *contextapi.SimilarQuery) { q.Namespace = "orders" }
		Expect(matched(near(ctx, 0, inOrders))).To(Equal([]int64{found[1], found[0]}))
		service = newReplica(prefix())
		service.source.Source = &contextapi.Store{Pool: preferringIndexes(ctx)}
		Expect(matched(near(ctx, 0, inOrders))).To(Equal([]int64{found[1], found[0]}))
	})

	It("looks at those alone that worked, when asked to", func(ctx SpecContext) {
		found := remember(ctx,
			action{status: "failed", embedding: towards(1)}, action{status: "completed", embedding: towards(20)})
		matches := near(ctx, 0, func(q *contextapi.SimilarQuery) { q.Status = "completed" })
		Expect(matched(matches)).To(Equal(found[1:]))
	})

	It("does not compare embeddings of another model, nor actions that have none", func(ctx SpecContext) {
		found := remember(ctx, action{embedding: towards(1), model: "another"}, action{}, at(30))
		Expect(matched(near(ctx, -1, nil))).To(Equal(found[2:]))
	})

	It("finds the text that shares most words with the one asked for", func(ctx SpecContext) {
		found := remember(ctx, about("the node has no disk space left"), about("the pod api was killed, it is out of memory"), about("certificate has expired"))
		resp := service.api.Post(ctx, contextapi.SimilarPath, map[string]any{"text": "pod ledger killed: out of memory", "limit": 1})
		var matches struct{ Data []contextapi.Match }
		resp.Decode(&matches)
		Expect(matched(matches.Data)).To(Equal(found[1:2]))
	})
})

// preferringIndexes has small tables read as large ones are.
func preferringIndexes(ctx context.Context) *pgxpool.Pool {
	GinkgoHelper()
	cfg := database.Config()
	for _, way := range []string{"enable_seqscan", "enable_bitmapscan", "enable_sort"} {
		cfg.ConnConfig.RuntimeParams[way] = "off"
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(pool.Close)
	return pool
}

func about(text string) action {
	GinkgoHelper()
	embedding, err := contextapi.Embed(text)
	Expect(err).NotTo(HaveOccurred())
	return action{embedding: embedding}
}

func matched(matches []contextapi.Match) []int64 {
	ids := make([]int64, len(matches))
	for i, m := range matches {
		ids[i] = m.ID
	}
	return ids
}
