package datastorage_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	. "github.com/kubernaut/workspace/test/support"
)

// receipt is the answer to an event that was taken.
type receipt struct {
	EventID   string    `json:"event_id"`
	Timestamp time.Time `json:"event_timestamp"`
	Status    string    `json:"status"`
}

func receiptOf(resp Response, status int) receipt {
	GinkgoHelper()
	Expect(resp.Status).To(Equal(status), "%s", resp.Body)
	var r receipt
	resp.Decode(&r)
	return r
}

var _ = Describe("POST of an event", func() {
	It("answers 201 with its id, its time and that it is stored", func(ctx SpecContext) {
		e := newEvent()
		r := receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated)
		Expect(r).To(Equal(receipt{EventID: e.ID, Timestamp: e.Timestamp, Status: "stored"}))
	})

	It("makes an id that sorts by time for an event without one", func(ctx SpecContext) {
		e := newEvent()
		e.ID = ""
		id, err := uuid.Parse(receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated).EventID)
		Expect(err).NotTo(HaveOccurred())
		Expect(id.Version()).To(Equal(uuid.Version(7)))
		Expect(stored(ctx, e).IDs()).To(Equal([]string{id.String()}))
	})

	It("makes one row of it, every member in the column of its name", func(ctx SpecContext) {
		e := newEvent()
		e.Action, e.Data = "empfangen – 受信", []byte(`{"n": 9007199254740993, "list": [1, null, "ü"]}`)
		receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated)
		row := one[string](ctx, database, `SELECT to_jsonb(a) - 'recorded_at' FROM audit_events a WHERE event_id = $1`, e.ID)
		want, err := json.Marshal(e)
		Expect(err).NotTo(HaveOccurred())
		var got audit.Event
		Expect(json.Unmarshal([]byte(row), &got)).To(Succeed())
		got.Timestamp = got.Timestamp.UTC()
		Expect(json.Marshal(got)).To(MatchJSON(want))
	})

	It("takes every category, and finds the event by it", func(ctx SpecContext) {
		e := newEvent()
		for _, category := range audit.Categories {
			e.ID, e.Category = uuid.NewString(), category
			receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated)
			Expect(storage.Find(ctx, "correlation_id", e.CorrelationID, "event_category", category).IDs()).To(Equal(ids(e)))
		}
	})

	It("takes every outcome, and finds the event by it", func(ctx SpecContext) {
		e := newEvent()
		for _, outcome := range audit.Outcomes {
			e.ID, e.Outcome = uuid.NewString(), outcome
			receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated)
			Expect(storage.Find(ctx, "correlation_id", e.CorrelationID, "event_outcome", outcome).IDs()).To(Equal(ids(e)))
		}
	})

	It("takes a time of any zone and answers it in UTC", func(ctx SpecContext) {
		event := loose("event_timestamp", time.Now().In(time.FixedZone("", -9*60*60-30*60)).Format(time.RFC3339))
		r := receiptOf(storage.Post(ctx, EventsPath, event), http.StatusCreated)
		Expect(r.Timestamp.Location()).To(Equal(time.UTC))
		Expect(storage.Find(ctx, "correlation_id", event["correlation_id"].(string)).Data[0].Timestamp).To(Equal(r.Timestamp))
	})

	It("takes events from last month to the month after the next", func(ctx SpecContext) {
		var events []audit.Event
		for months := -1; months <= 2; months++ {
			e := newEvent()
			e.Timestamp = inMonths(months)
			receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated)
			events = append(events, e)
		}
		partitions := one[int](ctx, database, `SELECT count(DISTINCT tableoid) FROM audit_events WHERE event_id = ANY($1)`, ids(events...))
		Expect(partitions).To(Equal(4))
	})

	It("answers 422 for a month that has no partition, and stores nothing", func(ctx SpecContext) {
		for _, months := range []int{-6, 6} {
			e := newEvent()
			e.Timestamp = inMonths(months)
			p := storage.Post(ctx, EventsPath, e).Problem(http.StatusUnprocessableEntity, "no-partition")
			Expect(p.Detail).To(ContainSubstring(`no partition of relation "audit_events"`))
			Expect(stored(ctx, e).Data).To(BeEmpty())
		}
	})

	It("answers 422 for data that is JSON and no jsonb", func(ctx SpecContext) {
		p := storage.Post(ctx, EventsPath, loose("event_data", map[string]string{"text": "a\x00b"})).
			Problem(http.StatusUnprocessableEntity, "not-storable")
		Expect(p.Detail).To(ContainSubstring("unsupported Unicode escape sequence"))
	})
})

var _ = Describe("An event delivered again", func() {
	It("is answered 201 like the first time and not stored again", func(ctx SpecContext) {
		e := newEvent()
		first, second := storage.Post(ctx, EventsPath, e), storage.Post(ctx, EventsPath, e)
		Expect(receiptOf(second, http.StatusCreated)).To(Equal(receiptOf(first, http.StatusCreated)))
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})

	It("does not change what was stored", func(ctx SpecContext) {
		e := newEvent()
		storage.Write(ctx, e)
		again := e
		again.Outcome, again.Data = "failure", []byte(`{}`)
		receiptOf(storage.Post(ctx, EventsPath, again), http.StatusCreated)
		Expect(stored(ctx, e).Data).To(ConsistOf(HaveField("Outcome", "success")))
	})

	It("is another event when its time is another", func(ctx SpecContext) {
		e := newEvent()
		later := e
		later.Timestamp = e.Timestamp.Add(time.Microsecond)
		storage.Write(ctx, e)
		storage.Write(ctx, later)
		Expect(stored(ctx, e).Pagination.Total).To(Equal(2))
	})

	It("is stored once when 20 deliver it at the same time", func(ctx SpecContext) {
		e := newEvent()
		InParallel(20, func() { receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated) })
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})

	It("is stored once when a batch has it twice", func(ctx SpecContext) {
		e := newEvent()
		storage.Write(ctx, e, e)
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})

	It("is left out of a batch that has new ones too", func(ctx SpecContext) {
		events := series(4)
		storage.Write(ctx, events[1:3]...)
		storage.Write(ctx, events...)
		Expect(stored(ctx, events[0]).IDs()).To(ConsistOf(ids(events...)))
	})
})

var _ = Describe("POST of a batch", func() {
	type receipt struct {
		EventIDs []string `json:"event_ids"`
		Written  int
	}

	It("answers 201 with the ids in the order of the events, the given and the made", func(ctx SpecContext) {
		events := series(3)
		given := ids(events...)
		events[1].ID = ""
		resp := storage.Post(ctx, BatchPath, events)
		Expect(resp.Status).To(Equal(http.StatusCreated))
		var r receipt
		resp.Decode(&r)
		Expect(r).To(And(HaveField("Written", 3), HaveField("EventIDs", HaveExactElements(given[0], Not(BeEmpty()), given[2]))))
		Expect(stored(ctx, events[0]).IDs()).To(ConsistOf(r.EventIDs))
	})

	It("takes 1000 events", func(ctx SpecContext) {
		events := series(1000)
		storage.Write(ctx, events...)
		found := storage.Find(ctx, "correlation_id", events[0].CorrelationID, "limit", "1000").IDs()
		slices.Reverse(found)
		Expect(found).To(Equal(ids(events...)))
	})

	It("answers 400 for no events, and for more than 1000", func(ctx SpecContext) {
		for _, n := range []int{0, 1001} {
			p := storage.Post(ctx, BatchPath, make([]struct{}, n)).Problem(http.StatusBadRequest, "batch-size")
			Expect(p.Detail).To(Equal(fmt.Sprintf("a batch has 1 to 1000 events, not %d", n)))
		}
	})

	It("names each wrong event by its place, and stores none of the others", func(ctx SpecContext) {
		events := series(4)
		events[1].Outcome, events[3].Type = "perhaps", ""
		p := storage.Post(ctx, BatchPath, events).Problem(http.StatusBadRequest, "validation-error")
		Expect(p.Errors).To(HaveExactElements(HaveField("Field", "[1].event_outcome"), HaveField("Field", "[3].event_type")))
		Expect(stored(ctx, events[0]).Data).To(BeEmpty())
	})

	It("stores none when PostgreSQL refuses one", func(ctx SpecContext) {
		events := series(4)
		events[2].Timestamp = inMonths(6)
		storage.Post(ctx, BatchPath, events).Problem(http.StatusUnprocessableEntity, "no-partition")
		Expect(stored(ctx, events[0]).Data).To(BeEmpty())
	})

	It("answers 413 for more than eight megabytes", func(ctx SpecContext) {
		p := storage.Post(ctx, BatchPath, []string{strings.Repeat("x", 8<<20)}).Problem(http.StatusRequestEntityTooLarge, "body-too-large")
		Expect(p.Detail).To(ContainSubstring("8388608 bytes"))
	})
})

// inMonths is the middle of a month, which every calendar has.
func inMonths(n int) time.Time {
	now := time.Now().UTC()
	return time.Date(now.Year(), now.Month()+time.Month(n), 15, 12, 0, 0, 0, time.UTC)
}
