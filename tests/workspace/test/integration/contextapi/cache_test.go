package contextapi_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
)

var payments = contextapi.Query{Namespace: "payments"}

// clock is the time of a cache's memory, which a spec moves on.
type clock struct{ passed atomic.Int64 }

func (c *clock) now() time.Time        { return noon.Add(time.Duration(c.passed.Load())) }
func (c *clock) pass(by time.Duration) { c.passed.Add(int64(by)) }

var _ = Describe("The tiers of the cache", func() {
	It("are asked in the order memory, Redis, database", func(ctx SpecContext) {
		remember(ctx, action{})
		shared := prefix()
		first, second := newReplica(shared), newReplica(shared)
		Expect(first.tier(ctx, payments)).To(Equal(contextapi.FromDatabase))
		Expect(first.tier(ctx, payments)).To(Equal(contextapi.FromMemory))
		Expect(second.tier(ctx, payments)).To(Equal(contextapi.FromRedis))
		Expect(second.tier(ctx, payments)).To(Equal(contextapi.FromMemory))
		Expect(second.source.queries.Load()).To(BeZero())
	})

	It("give what the database gave", func(ctx SpecContext) {
		remember(ctx, action{parameters: `{"grace": [1, 2.5, null]}`, score: 0.999, at: noon.Add(time.Microsecond)}, action{status: "pending"})
		shared := prefix()
		read, _ := newReplica(shared).page(ctx, payments)
		Expect(read.Data).To(HaveLen(2))
		other := newReplica(shared)
		fromRedis, _ := other.page(ctx, payments)
		fromMemory, _ := other.page(ctx, payments)
		Expect(fromRedis).To(Equal(read))
		Expect(fromMemory).To(Equal(read))
	})

	It("hold an entry in Redis for its time to live", func(ctx SpecContext) {
		service := newReplica(prefix(), func(c *contextapi.CacheConfig) { c.RedisTTL = time.Minute })
		service.tier(ctx, payments)
		Expect(cache.TTL(ctx, service.Cache.PageKey(payments)).Result()).To(BeNumerically("~", time.Minute, 10*time.Second))
	})

	It("ask Redis again when the time in memory is over", func(ctx SpecContext) {
		var passing clock
		service := newReplica(prefix(), func(c *contextapi.CacheConfig) { c.MemoryTTL, c.Now = time.Minute, passing.now })
		service.tier(ctx, payments)
		passing.pass(time.Minute - time.Second)
		Expect(service.tier(ctx, payments)).To(Equal(contextapi.FromMemory))
		passing.pass(time.Second)
		Expect(service.tier(ctx, payments)).To(Equal(contextapi.FromRedis))
	})

	It("ask the database again when the time in Redis is over", func(ctx SpecContext) {
		shared := prefix()
		short := func(c *contextapi.CacheConfig) { c.RedisTTL = 20 * time.Millisecond }
		newReplica(shared, short).tier(ctx, payments)
		Eventually(ctx, func() contextapi.Tier { return newReplica(shared, short).tier(ctx, payments) }, "5s", "30ms").Should(Equal(contextapi.FromDatabase))
	})

	It("let go of the entry in memory that was not read for longest", func(ctx SpecContext) {
		service := newReplica(prefix(), func(c *contextapi.CacheConfig) { c.Capacity = 2 })
		a, b, c := contextapi.Query{Namespace: "a"}, contextapi.Query{Namespace: "b"}, contextapi.Query{Namespace: "c"}
		for _, q := range []contextapi.Query{a, b, a, c} {
			service.tier(ctx, q)
		}
		Expect(service.Cache.Len()).To(Equal(2))
		Expect(service.tier(ctx, a)).To(Equal(contextapi.FromMemory))
		Expect(service.tier(ctx, b)).To(Equal(contextapi.FromRedis))
	})

	It("keep apart pages that only their offset tells from each other", func(ctx SpecContext) {
		found := remember(ctx, series(3)...)
		service := newReplica(prefix())
		for i, want := range []int64{found[2], found[1], found[0]} {
			page, tier := service.page(ctx, contextapi.Query{Limit: 1, Offset: i})
			Expect(tier).To(Equal(contextapi.FromDatabase))
			Expect(ids(page.Data)).To(Equal([]int64{want}))
		}
	})

	It("have the offset in the name of an entry in Redis", func(ctx SpecContext) {
		service := newReplica(prefix())
		service.tier(ctx, contextapi.Query{Offset: offset + 7})
		keys, err := cache.Keys(ctx, service.Cache.RedisKey("*")).Result()
		Expect(err).NotTo(HaveOccurred())
		Expect(keys).To(ConsistOf(HaveSuffix("&offset=" + strconv.Itoa(offset+7))))
	})

	It("keep one entry of a question, whatever zone its times are in", func(ctx SpecContext) {
		service := newReplica(prefix())
		service.tier(ctx, contextapi.Query{Since: noon})
		Expect(service.tier(ctx, contextapi.Query{Since: noon.In(time.FixedZone("", -5*3600))})).To(Equal(contextapi.FromMemory))
	})

	It("remember that nothing was found", func(ctx SpecContext) {
		service := newReplica(prefix())
		for range 3 {
			page, _ := service.page(ctx, payments)
			Expect(page.Data).To(BeEmpty())
		}
		Expect(service.source.queries.Load()).To(Equal(int64(1)))
	})

	It("do not remember an error", func(ctx SpecContext) {
		service := newReplica(prefix())
		service.source.after = func() error { return errors.New("the database has gone away") }
		_, _, err := service.Actions(ctx, payments)
		Expect(err).To(MatchError("the database has gone away"))
		service.source.after = nil
		Expect(service.tier(ctx, payments)).To(Equal(contextapi.FromDatabase))
	})

	It("replace what is in Redis and is no answer", func(ctx SpecContext) {
		shared := prefix()
		key := newReplica(shared).Cache.PageKey(payments)
		Expect(cache.Set(ctx, key, `{"data": [`, time.Minute).Err()).To(Succeed())
		Expect(newReplica(shared).tier(ctx, payments)).To(Equal(contextapi.FromDatabase))
		Expect(newReplica(shared).tier(ctx, payments)).To(Equal(contextapi.FromRedis))
	})

	It("hand every reader a value of its own", func(ctx SpecContext) {
		remember(ctx, action{})
		service := newReplica(prefix())
		page, _ := service.page(ctx, payments)
		page.Data[0].Status = fmt.Sprint("changed by a reader of ", page.Data[0].Status)
		again, _ := service.page(ctx, payments)
		Expect(again.Data[0].Status).To(Equal("completed"))
	})

	DescribeTable("serve the second time from memory", func(ctx SpecContext, read func(context.Context, *replica) (contextapi.Tier, error)) {
		service := newReplica(prefix())
		Expect(read(ctx, service)).To(Equal(contextapi.FromDatabase))
		Expect(read(ctx, service)).To(Equal(contextapi.FromMemory))
	},
		Entry("a search", func(ctx context.Context, r *replica) (contextapi.Tier, error) {
			_, tier, err := r.Similar(ctx, contextapi.SimilarQuery{Embedding: towards(0)})
			return tier, err
		}),
		Entry("success rates", func(ctx context.Context, r *replica) (contextapi.Tier, error) {
			_, tier, err := r.SuccessRates(ctx, contextapi.Query{}, "kind")
			return tier, err
		}),
		Entry("statistics", func(ctx context.Context, r *replica) (contextapi.Tier, error) {
			_, tier, err := r.Statistics(ctx, contextapi.Query{})
			return tier, err
		}),
	)
})
