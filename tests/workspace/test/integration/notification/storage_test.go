package notification_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/notification"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("PostgreSQL under DataStorage", func() {
	It("has the schema of the last migration", func(ctx SpecContext) {
		Expect(one[int](ctx, `SELECT max(version) FROM schema_version`)).To(Equal(1000))
	})

	It("had its migrations applied in the order of their numbers", func(ctx SpecContext) {
		inOrder := one[bool](ctx, `SELECT array_agg(version ORDER BY applied_at) = array_agg(version ORDER BY version) FROM schema_version`)
		Expect(inOrder).To(BeTrue())
	})

	It("has a partition for this month and for the next", func(ctx SpecContext) {
		month := time.Now().UTC().AddDate(0, 0, 1-time.Now().UTC().Day())
		for _, t := range []time.Time{month, month.AddDate(0, 1, 0)} {
			Expect(one[*string](ctx, `SELECT to_regclass($1)::text`, t.Format("audit_events_2006_01"))).NotTo(BeNil())
		}
	})

	It("has the extensions that the services use", func(ctx SpecContext) {
		extensions := one[[]string](ctx, `SELECT array_agg(extname::text) FROM pg_extension`)
		Expect(extensions).To(ContainElements("uuid-ossp", "vector"))
	})

	It("holds the very row that DataStorage was given", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		e.Data = []byte(`{"channel": "e-mail", "recipients": 3}`)
		Expect(storage.Post(ctx, EventsPath, e).Status).To(Equal(http.StatusCreated))
		rows := one[int](ctx, `SELECT count(*) FROM audit_events WHERE event_id = $1 AND event_timestamp = $2
			AND correlation_id = $3 AND event_data->>'channel' = 'e-mail'`, e.ID, e.Timestamp, e.CorrelationID)
		Expect(rows).To(Equal(1))
	})

	It("puts a row into the partition of its month", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		storage.Write(ctx, e)
		partition := one[string](ctx, `SELECT tableoid::regclass::text FROM audit_events WHERE event_id = $1`, e.ID)
		Expect(partition).To(Equal(e.Timestamp.Format("audit_events_2006_01")))
	})
})

var _ = Describe("Redis under DataStorage", func() {
	It("answers a PING", func(ctx SpecContext) {
		Expect(cache.Ping(ctx).Result()).To(Equal("PONG"))
	})

	It("has no event queued after a write that worked", func(ctx SpecContext) {
		storage.Write(ctx, series(uniqueID(), 10)...)
		streams := cache.ScanType(ctx, 0, "*", 1000, "stream").Iterator()
		for streams.Next(ctx) {
			Expect(cache.XLen(ctx, streams.Val()).Val()).To(BeZero(), "events in the stream %s", streams.Val())
		}
		Expect(streams.Err()).NotTo(HaveOccurred())
	})

	It("lets one of two claims for the same message win", func(ctx SpecContext) {
		dedup := notification.Deduplicator{Redis: cache, Window: time.Minute}
		n := newNotification()
		Expect(dedup.Claim(ctx, n)).To(BeTrue())
		Expect(dedup.Claim(ctx, n)).To(BeFalse())
	})

	It("gives a claim the length of the window to live", func(ctx SpecContext) {
		dedup := notification.Deduplicator{Redis: cache, Window: time.Minute}
		n := newNotification()
		Expect(dedup.Claim(ctx, n)).To(BeTrue())
		Expect(cache.TTL(ctx, notification.DedupKey(n)).Result()).To(BeNumerically("~", time.Minute, 5*time.Second))
	})

	It("lets a message be claimed again when the window is over", func(ctx SpecContext) {
		dedup := notification.Deduplicator{Redis: cache, Window: 50 * time.Millisecond}
		n := newNotification()
		Expect(dedup.Claim(ctx, n)).To(BeTrue())
		Eventually(ctx, func() (bool, error) { return dedup.Claim(ctx, n) }, "5s").Should(BeTrue())
	})

	It("lets exactly one of 20 racing claims win", func(ctx SpecContext) {
		dedup := notification.Deduplicator{Redis: cache, Window: time.Minute}
		n := newNotification()
		var winners atomic.Int32
		InParallel(20, func() {
			won, err := dedup.Claim(ctx, n)
			Expect(err).NotTo(HaveOccurred())
			if won {
				winners.Add(1)
			}
		})
		Expect(winners.Load()).To(Equal(int32(1)))
	})
})

// one reads a single value.
func one[T any](ctx context.Context, query string, args ...any) T {
	GinkgoHelper()
	var value T
	Expect(database.QueryRow(ctx, query, args...).Scan(&value)).To(Succeed())
	return value
}
