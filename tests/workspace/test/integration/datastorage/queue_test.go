package datastorage_test

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	"github.com/kubernaut/workspace/pkg/audit"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("While PostgreSQL is gone", Serial, func() {
	var giveBack func(context.Context)

	BeforeEach(func(ctx SpecContext) {
		giveBack = takePostgresAway(ctx, openAdmin(ctx))
	})

	DescribeTable("DataStorage's state", func(ctx SpecContext, path string, status int, body string) {
		resp := storage.Get(ctx, path)
		Expect(resp.Status).To(Equal(status))
		Expect(resp.Body).To(MatchJSON(body))
	},
		Entry("is unhealthy", "/health", 503, `{"status": "unhealthy", "database": "disconnected"}`),
		Entry("is not ready", "/health/ready", 503, `{"status": "not ready", "reason": "database disconnected"}`),
		Entry("is alive: a restart would not help", "/health/live", 200, `{"status": "alive"}`),
	)

	It("an event is answered 202 and waits in Redis, with the id that it will have", func(ctx SpecContext) {
		e := newEvent()
		e.ID = ""
		r := receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
		Expect(r.Status).To(Equal("queued"))
		Expect(waiting(ctx)).To(Equal([]string{r.EventID}))
		giveBack(ctx)
		Expect(stored(ctx, e).IDs()).To(Equal([]string{r.EventID}))
	})

	It("a batch is answered 500, and no event of it is queued or stored", func(ctx SpecContext) {
		events := series(3)
		p := storage.Post(ctx, BatchPath, events).Problem(http.StatusInternalServerError, "storage-unavailable")
		Expect(p.Detail).To(ContainSubstring("none of the batch was written"))
		Expect(waiting(ctx)).To(BeEmpty())
		giveBack(ctx)
		Expect(stored(ctx, events[0]).Data).To(BeEmpty())
	})

	It("a query is answered 500, not with an empty page", func(ctx SpecContext) {
		storage.Get(ctx, EventsPath).Problem(http.StatusInternalServerError, "storage-unavailable")
	})

	It("an event that is not valid is refused as ever, and not queued", func(ctx SpecContext) {
		storage.Post(ctx, EventsPath, loose("event_outcome", "ok")).Problem(http.StatusBadRequest, "validation-error")
		Expect(waiting(ctx)).To(BeEmpty())
	})

	It("the metrics count what is queued, and later what is drained", func(ctx SpecContext) {
		queued, drained, written := counter(ctx, "queued"), counter(ctx, "drained"), counter(ctx, "written")
		for range 3 {
			receiptOf(storage.Post(ctx, EventsPath, newEvent()), http.StatusAccepted)
		}
		Expect(counter(ctx, "queued")).To(Equal(queued + 3))
		giveBack(ctx)
		Expect(counter(ctx, "drained")).To(Equal(drained + 3))
		Expect(counter(ctx, "written")).To(Equal(written))
	})

	It("a queue that is full refuses an event rather than forget another", func(ctx SpecContext) {
		DeferCleanup(func(ctx SpecContext) { Expect(cache.Del(ctx, queue).Err()).To(Succeed()) })
		e := newEvent()
		fillQueue(ctx, e, 9999)
		receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
		first := waiting(ctx)[0]
		storage.Post(ctx, EventsPath, newEvent()).Problem(http.StatusInternalServerError, "storage-unavailable")
		Expect(length(ctx, queue)).To(Equal(int64(10000)))
		Expect(waiting(ctx)[0]).To(Equal(first))
	})

	Context("and Redis is too", func() {
		It("an event is answered 500 when Redis has no memory left", func(ctx SpecContext) {
			fillRedis(ctx)
			p := storage.Post(ctx, EventsPath, newEvent()).Problem(http.StatusInternalServerError, "storage-unavailable")
			Expect(p.Detail).To(Equal("PostgreSQL is not available and the event could not be queued"))
			Expect(waiting(ctx)).To(BeEmpty())
		})

		It("an event is answered 500 in time when Redis does not answer", func(ctx SpecContext) {
			DeferCleanup(func(ctx SpecContext) { Expect(cache.Do(ctx, "CLIENT", "UNPAUSE").Err()).To(Succeed()) })
			Expect(cache.Do(ctx, "CLIENT", "PAUSE", 30_000, "WRITE").Err()).To(Succeed())
			start := time.Now()
			storage.Post(ctx, EventsPath, newEvent()).Problem(http.StatusInternalServerError, "storage-unavailable")
			Expect(time.Since(start)).To(BeNumerically("<", 5*time.Second))
		})

		It("an event is taken again as soon as Redis has room", func(ctx SpecContext) {
			makeRoom := fillRedis(ctx)
			e := newEvent()
			Expect(storage.Post(ctx, EventsPath, e).Status).To(Equal(http.StatusInternalServerError))
			makeRoom(ctx)
			receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
			giveBack(ctx)
			Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
		})
	})
})

func entries(ctx context.Context, stream string) []redis.XMessage {
	GinkgoHelper()
	found, err := cache.XRange(ctx, stream, "-", "+").Result()
	Expect(err).NotTo(HaveOccurred())
	return found
}

func eventOf(entry redis.XMessage) audit.Event {
	GinkgoHelper()
	var e audit.Event
	Expect(entry.Values).To(HaveKey("event"))
	Expect(json.Unmarshal([]byte(entry.Values["event"].(string)), &e)).To(Succeed())
	return e
}

// waiting are the ids of the events in the queue, the oldest first.
func waiting(ctx context.Context) []string {
	GinkgoHelper()
	var ids []string
	for _, entry := range entries(ctx, queue) {
		ids = append(ids, eventOf(entry).ID)
	}
	return ids
}

// takeAsideAway removes what the spec has set aside: nothing else ever does.
func takeAsideAway() {
	DeferCleanup(func(ctx SpecContext) { Expect(cache.Del(ctx, rejected).Err()).To(Succeed()) })
}

func fillQueue(ctx context.Context, e audit.Event, n int) {
	GinkgoHelper()
	body, err := json.Marshal(e)
	Expect(err).NotTo(HaveOccurred())
	_, err = cache.Pipelined(ctx, func(p redis.Pipeliner) error {
		for range n {
			p.XAdd(ctx, &redis.XAddArgs{Stream: queue, Values: []any{"event", body}})
		}
		return nil
	})
	Expect(err).NotTo(HaveOccurred())
}
