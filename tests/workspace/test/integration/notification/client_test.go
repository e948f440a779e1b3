package notification_test

import (
	"context"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("The audit client", func() {
	It("has 7 of 7 events written and none failed when it is closed", func(ctx SpecContext) {
		correlationID := uniqueID()
		client := newClient(func(c *audit.Config) { c.BatchSize, c.FlushInterval = 3, time.Hour })
		record(client, correlationID, 7)
		Expect(CloseInTime(ctx, client)).To(Succeed())
		Expect(client.Stats()).To(Equal(audit.Stats{Written: 7, Batches: 3}))
		Expect(storage.Find(ctx, "correlation_id", correlationID).Pagination.Total).To(Equal(7))
	})

	It("writes a batch as soon as it is full", func(ctx SpecContext) {
		client := newClient(func(c *audit.Config) { c.BatchSize, c.FlushInterval = 5, time.Hour })
		DeferCleanup(client.Close)
		record(client, uniqueID(), 5)
		Eventually(ctx, client.Stats, "5s").Should(Equal(audit.Stats{Written: 5, Batches: 1}))
	})

	It("writes a batch that does not fill up after the flush interval", func(ctx SpecContext) {
		client := newClient(func(c *audit.Config) { c.BatchSize = 100 })
		DeferCleanup(client.Close)
		record(client, uniqueID(), 2)
		Eventually(ctx, client.Stats, "5s").Should(HaveField("Written", int64(2)))
	})

	It("fills in id, version and timestamp", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		e.ID, e.Version, e.Timestamp = "", "", time.Time{}
		client := newClient(func(*audit.Config) {})
		Expect(client.Record(e)).To(Succeed())
		Expect(CloseInTime(ctx, client)).To(Succeed())
		found := storage.Find(ctx, "correlation_id", e.CorrelationID).Data
		Expect(found).To(HaveLen(1))
		Expect(found[0].Version).To(Equal(audit.Version))
		Expect(found[0].Timestamp).To(BeTemporally("~", time.Now(), 10*time.Second))
	})

	It("tries again while DataStorage answers 503", func(ctx SpecContext) {
		client := newClient(func(c *audit.Config) { c.URL = storage.Flaky(2, http.StatusServiceUnavailable) })
		record(client, uniqueID(), 4)
		Expect(CloseInTime(ctx, client)).To(Succeed())
		Expect(client.Stats().Written).To(Equal(int64(4)))
		Expect(client.Stats().Retries).To(BeNumerically(">=", 2))
	})

	It("stores events once although the answer to them was lost", func(ctx SpecContext) {
		correlationID := uniqueID()
		client := newClient(func(c *audit.Config) { c.URL = storage.LosingFirstAnswer() })
		record(client, correlationID, 6)
		Expect(CloseInTime(ctx, client)).To(Succeed())
		Expect(client.Stats().Retries).To(BeNumerically(">=", 1))
		Expect(storage.Find(ctx, "correlation_id", correlationID).Pagination.Total).To(Equal(6))
	})

	It("gives up a batch after its last attempt and says so", func(ctx SpecContext) {
		client := newClient(func(c *audit.Config) {
			c.URL, c.MaxAttempts, c.FlushInterval = storage.Flaky(1000, http.StatusInternalServerError), 3, time.Hour
		})
		record(client, uniqueID(), 2)
		Expect(CloseInTime(ctx, client)).To(MatchError(ContainSubstring("2 of 2 events failed: 500")))
		Expect(client.Stats()).To(Equal(audit.Stats{Failed: 2, Retries: 2}))
	})

	It("does not repeat what DataStorage refuses", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		e.Outcome = "perhaps"
		client := newClient(func(*audit.Config) {})
		Expect(client.Record(e)).To(Succeed())
		Expect(CloseInTime(ctx, client)).To(MatchError(ContainSubstring("event_outcome")))
		Expect(client.Stats()).To(Equal(audit.Stats{Failed: 1}))
	})

	It("drops events when its buffer is full instead of blocking its caller", func(ctx SpecContext) {
		address, release := storage.Stuck()
		client := newClient(func(c *audit.Config) { c.URL, c.BufferSize, c.BatchSize = address, 2, 1 })
		start := time.Now()
		Eventually(func() error { return client.Record(newEvent(uniqueID())) }, "5s", "1ms").Should(MatchError(audit.ErrBufferFull))
		Expect(time.Since(start)).To(BeNumerically("<", 5*time.Second))
		Expect(client.Stats().Dropped).To(Equal(int64(1)))
		release()
		Expect(CloseInTime(ctx, client)).To(Succeed())
	})

	It("takes nothing after it was closed", func(ctx SpecContext) {
		client := newClient(func(*audit.Config) {})
		Expect(CloseInTime(ctx, client)).To(Succeed())
		Expect(client.Record(newEvent(uniqueID()))).To(MatchError(audit.ErrClosed))
	})

	It("ends in time when DataStorage does not, and counts the rest as failed", func(ctx SpecContext) {
		address, _ := storage.Stuck()
		client := newClient(func(c *audit.Config) { c.URL = address })
		record(client, uniqueID(), 3)
		impatient, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		Expect(client.Close(impatient)).To(MatchError(ContainSubstring("3 of 3 events failed")))
	})

	It("loses nothing when many goroutines record at once", func(ctx SpecContext) {
		correlationID := uniqueID()
		client := newClient(func(c *audit.Config) { c.BatchSize = 50 })
		InParallel(8, func() { record(client, correlationID, 25) })
		Expect(CloseInTime(ctx, client)).To(Succeed())
		Expect(client.Stats()).To(And(HaveField("Written", int64(200)), HaveField("Dropped", int64(0))))
		Expect(storage.Find(ctx, "correlation_id", correlationID).Pagination.Total).To(Equal(200))
	})
})

func record(client *audit.Client, correlationID string, n int) {
	GinkgoHelper()
	for _, e := range series(correlationID, n) {
		Expect(client.Record(e)).To(Succeed())
	}
}
