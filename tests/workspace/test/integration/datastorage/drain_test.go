package datastorage_test

import (
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("When PostgreSQL is back", Serial, func() {
	var admin *pgxpool.Pool

	BeforeEach(func(ctx SpecContext) { admin = openAdmin(ctx) })

	It("the queue is stored in the order in which events came, whatever their times", func(ctx SpecContext) {
		giveBack := takePostgresAway(ctx, admin)
		events := series(12)
		slices.Reverse(events)
		for _, e := range events {
			receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
		}
		Expect(waiting(ctx)).To(Equal(ids(events...)))
		giveBack(ctx)
		inOrder := one[[]string](ctx, database, `SELECT array_agg(event_id::text ORDER BY recorded_at)
			FROM audit_events WHERE correlation_id = $1`, events[0].CorrelationID)
		Expect(inOrder).To(Equal(ids(events...)))
	})

	It("an event that was queued twice is stored once", func(ctx SpecContext) {
		giveBack := takePostgresAway(ctx, admin)
		e := newEvent()
		for range 2 {
			receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
		}
		Expect(waiting(ctx)).To(Equal(ids(e, e)))
		giveBack(ctx)
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})

	It("an event that was stored before, and queued when it came again, is stored once", func(ctx SpecContext) {
		e := newEvent()
		receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated)
		giveBack := takePostgresAway(ctx, admin)
		receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
		giveBack(ctx)
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})

	It("an event that PostgreSQL refuses is set aside with the reason, and holds up none behind it", func(ctx SpecContext) {
		takeAsideAway()
		giveBack := takePostgresAway(ctx, admin)
		before := counter(ctx, "rejected")
		events := series(3)
		events[1].Timestamp = inMonths(60)
		for _, e := range events {
			receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
		}
		giveBack(ctx)
		Expect(stored(ctx, events[0]).IDs()).To(ConsistOf(events[0].ID, events[2].ID))
		aside := entries(ctx, rejected)
		Expect(aside).To(HaveLen(1))
		Expect(eventOf(aside[0]).ID).To(Equal(events[1].ID))
		Expect(aside[0].Values["reason"]).To(ContainSubstring(`no partition of relation "audit_events"`))
		Expect(counter(ctx, "rejected")).To(Equal(before + 1))
	})

	It("an entry of the queue that cannot be read is set aside as it is", func(ctx SpecContext) {
		takeAsideAway()
		Expect(cache.XAdd(ctx, &redis.XAddArgs{Stream: queue, Values: []any{"event", `{"version": `}}).Err()).To(Succeed())
		expectHealed(ctx)
		Expect(entries(ctx, rejected)).To(ConsistOf(HaveField("Values", HaveKeyWithValue("event", `{"version": `))))
	})

	It("each event is there once that many writers were told is stored or queued", func(ctx SpecContext) {
		correlationID := UniqueID("datastorage")
		var answers tally
		stop := keepPosting(ctx, correlationID, &answers)
		Eventually(ctx, answers.of).WithArguments(http.StatusCreated).WithTimeout(recovery).Should(BeNumerically(">=", 50))
		giveBack := takePostgresAway(ctx, admin)
		Eventually(ctx, answers.of).WithArguments(http.StatusAccepted).WithTimeout(recovery).Should(BeNumerically(">=", 50))
		giveBack(ctx)
		before := answers.of(http.StatusCreated)
		Eventually(ctx, answers.of).WithArguments(http.StatusCreated).WithTimeout(recovery).Should(BeNumerically(">=", before+50))
		stop()
		expectHealed(ctx)
		Expect(answers.counts).To(HaveLen(2), "no other answer than 201 and 202")
		found := storage.Find(ctx, "correlation_id", correlationID, "limit", "1").Pagination.Total
		Expect(found).To(Equal(answers.of(http.StatusCreated) + answers.of(http.StatusAccepted)))
	})

	It("an event that PostgreSQL kept waiting for too long is queued, and stored once", func(ctx SpecContext) {
		release := lockEvents(ctx)
		e := newEvent()
		receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
		Expect(status(ctx, "/health")).To(Equal(http.StatusOK))
		release()
		expectHealed(ctx)
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})
})
