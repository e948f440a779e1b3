package notification_test

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("Reading events", func() {
	It("finds by correlation id and leaves out the events of others", func(ctx SpecContext) {
		mine, other := newEvent(uniqueID()), newEvent(uniqueID())
		storage.Write(ctx, mine)
		storage.Write(ctx, other)
		Expect(storage.Find(ctx, "correlation_id", mine.CorrelationID).IDs()).To(Equal([]string{mine.ID}))
	})

	It("finds by event type", func(ctx SpecContext) {
		sent, failed := pair(func(e *audit.Event) { e.Type = "notification.message.failed" })
		storage.Write(ctx, sent, failed)
		found := storage.Find(ctx, "correlation_id", sent.CorrelationID, "event_type", "notification.message.failed")
		Expect(found.Types()).To(Equal([]string{"notification.message.failed"}))
	})

	It("finds by event category", func(ctx SpecContext) {
		ours, gateways := pair(func(e *audit.Event) { e.Category = "gateway" })
		storage.Write(ctx, ours, gateways)
		found := storage.Find(ctx, "correlation_id", ours.CorrelationID, "event_category", "gateway")
		Expect(found.IDs()).To(Equal([]string{gateways.ID}))
	})

	It("finds by event outcome", func(ctx SpecContext) {
		success, failure := pair(func(e *audit.Event) { e.Outcome = "failure" })
		storage.Write(ctx, success, failure)
		found := storage.Find(ctx, "correlation_id", success.CorrelationID, "event_outcome", "failure")
		Expect(found.IDs()).To(Equal([]string{failure.ID}))
	})

	It("finds only what all of several filters match", func(ctx SpecContext) {
		a, b := pair(func(e *audit.Event) { e.Outcome = "failure" })
		c, d := newEvent(a.CorrelationID), newEvent(a.CorrelationID)
		c.Action, d.Category, d.Outcome = "escalated", "workflow", "failure"
		storage.Write(ctx, a, b, c, d)
		found := storage.Find(ctx, "correlation_id", a.CorrelationID, "event_outcome", "failure", "event_category", "notification")
		Expect(found.IDs()).To(Equal([]string{b.ID}))
	})

	It("includes an event that happened at since", func(ctx SpecContext) {
		events := series(uniqueID(), 3)
		storage.Write(ctx, events...)
		found := storage.Find(ctx, "correlation_id", events[0].CorrelationID, "since", exactly(events[1].Timestamp))
		Expect(found.IDs()).To(ConsistOf(events[1].ID, events[2].ID))
	})

	It("excludes an event that happened at until", func(ctx SpecContext) {
		events := series(uniqueID(), 3)
		storage.Write(ctx, events...)
		found := storage.Find(ctx, "correlation_id", events[0].CorrelationID, "until", exactly(events[1].Timestamp))
		Expect(found.IDs()).To(ConsistOf(events[0].ID))
	})

	It("lists the newest event first", func(ctx SpecContext) {
		events := series(uniqueID(), 4)
		storage.Write(ctx, events...)
		slices.Reverse(events)
		Expect(storage.Find(ctx, "correlation_id", events[0].CorrelationID).IDs()).To(Equal(Page{Data: events}.IDs()))
	})

	It("cuts a page at limit and says that there is more", func(ctx SpecContext) {
		events := series(uniqueID(), 3)
		storage.Write(ctx, events...)
		found := storage.Find(ctx, "correlation_id", events[0].CorrelationID, "limit", "2")
		Expect(found.Data).To(HaveLen(2))
		Expect(found.Pagination.Total).To(Equal(3))
		Expect(found.Pagination.HasMore).To(BeTrue())
	})

	It("says on the last page that there is no more", func(ctx SpecContext) {
		events := series(uniqueID(), 3)
		storage.Write(ctx, events...)
		found := storage.Find(ctx, "correlation_id", events[0].CorrelationID, "limit", "2", "offset", "2")
		Expect(found.Data).To(HaveLen(1))
		Expect(found.Pagination.HasMore).To(BeFalse())
	})

	It("meets every event once when all pages are read", func(ctx SpecContext) {
		events := series(uniqueID(), 11)
		for i := range events {
			events[i].Timestamp = events[0].Timestamp // the order must not depend on luck
		}
		storage.Write(ctx, events...)
		var ids []string
		for offset := 0; offset < 11; offset += 3 {
			found := storage.Find(ctx, "correlation_id", events[0].CorrelationID, "limit", "3", "offset", strconv.Itoa(offset))
			ids = append(ids, found.IDs()...)
		}
		Expect(ids).To(ConsistOf(Page{Data: events}.IDs()))
	})

	It("answers a page beyond the end with an empty array", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		storage.Write(ctx, e)
		resp := storage.Get(ctx, EventsPath+"?offset=10&correlation_id="+e.CorrelationID)
		Expect(resp.Status).To(Equal(http.StatusOK))
		Expect(resp.Body).To(MatchJSON(`{"data": [], "pagination": {"limit": 100, "offset": 10, "total": 1, "has_more": false}}`))
	})

	It("finds nothing for a filter that has SQL in it", func(ctx SpecContext) {
		storage.Write(ctx, newEvent(uniqueID()))
		Expect(storage.Find(ctx, "correlation_id", "' OR '1'='1").Data).To(BeEmpty())
	})
})

// pair is two events of one correlation id, the second one changed.
func pair(change func(*audit.Event)) (same, changed audit.Event) {
	same = newEvent(uniqueID())
	changed = newEvent(same.CorrelationID)
	change(&changed)
	return same, changed
}

func exactly(t time.Time) string { return t.Format(time.RFC3339Nano) }
