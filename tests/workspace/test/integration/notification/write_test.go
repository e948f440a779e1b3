package notification_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("Writing one event", func() {
	It("answers with the id under which the event is found", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		e.ID = ""
		resp := storage.Post(ctx, EventsPath, e)
		Expect(resp.Status).To(Equal(http.StatusCreated))
		var created struct {
			EventID string `json:"event_id"`
			Status  string
		}
		resp.Decode(&created)
		Expect(uuid.Validate(created.EventID)).To(Succeed())
		Expect(created.Status).To(Equal("stored"))
		Expect(storage.Find(ctx, "correlation_id", e.CorrelationID).IDs()).To(Equal([]string{created.EventID}))
	})

	It("keeps every field as it was sent", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		Expect(storage.Post(ctx, EventsPath, e).Status).To(Equal(http.StatusCreated))
		found := storage.Find(ctx, "correlation_id", e.CorrelationID).Data
		Expect(found).To(HaveLen(1))
		Expect(found[0].Data).To(MatchJSON(e.Data))
		found[0].Data = e.Data
		Expect(found[0]).To(Equal(e))
	})

	It("keeps text in any script, and emoji", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		e.Action = "zugestellt – 配信済み – تم التسليم 🚀"
		e.Data = []byte(`{"subject": "Größe überschritten: 容量不足 😱", "naïve": "\"quoted\" and \\ back"}`)
		Expect(storage.Post(ctx, EventsPath, e).Status).To(Equal(http.StatusCreated))
		found := storage.Find(ctx, "correlation_id", e.CorrelationID).Data
		Expect(found).To(HaveLen(1))
		Expect(found[0].Action).To(Equal(e.Action))
		Expect(found[0].Data).To(MatchJSON(e.Data))
	})

	It("keeps event_data of half a megabyte", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		e.Data = []byte(fmt.Sprintf(`{"body": %q}`, strings.Repeat("kubernaut ", 50_000)))
		Expect(storage.Post(ctx, EventsPath, e).Status).To(Equal(http.StatusCreated))
		found := storage.Find(ctx, "correlation_id", e.CorrelationID).Data
		Expect(found).To(HaveLen(1))
		Expect(json.RawMessage(found[0].Data)).To(MatchJSON(e.Data))
	})

	It("keeps numbers that a float would round", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		e.Data = []byte(`{"sequence": 9007199254740993, "cost": 0.1000}`)
		storage.Post(ctx, EventsPath, e)
		found := storage.Find(ctx, "correlation_id", e.CorrelationID).Data
		Expect(found).To(HaveLen(1))
		Expect(string(found[0].Data)).To(And(ContainSubstring("9007199254740993"), ContainSubstring("0.1000")))
	})

	It("turns timestamps of other time zones into UTC", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		instant := e.Timestamp
		e.Timestamp = instant.In(time.FixedZone("Kathmandu", 5*60*60+45*60))
		storage.Post(ctx, EventsPath, e)
		found := storage.Find(ctx, "correlation_id", e.CorrelationID).Data
		Expect(found).To(HaveLen(1))
		Expect(found[0].Timestamp).To(Equal(instant))
	})

	It("stores an event once that is delivered twice", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		for range 2 {
			Expect(storage.Post(ctx, EventsPath, e).Status).To(Equal(http.StatusCreated))
		}
		Expect(storage.Find(ctx, "correlation_id", e.CorrelationID).IDs()).To(Equal([]string{e.ID}))
	})

	It("refuses an event of a month that has no partition", func(ctx SpecContext) {
		e := newEvent(uniqueID())
		e.Timestamp = e.Timestamp.AddDate(5, 0, 0)
		p := storage.Post(ctx, EventsPath, e).Problem(http.StatusUnprocessableEntity, "no-partition")
		Expect(p.Detail).To(ContainSubstring(`no partition of relation "audit_events"`))
	})

	It("stores what 40 callers send at the same time", func(ctx SpecContext) {
		correlationID := uniqueID()
		InParallel(40, func() {
			Expect(storage.Post(ctx, EventsPath, newEvent(correlationID)).Status).To(Equal(http.StatusCreated))
		})
		Expect(storage.Find(ctx, "correlation_id", correlationID).Pagination.Total).To(Equal(40))
	})
})

var _ = Describe("Writing a batch", func() {
	It("answers with the ids of all events, in their order", func(ctx SpecContext) {
		events := series(uniqueID(), 3)
		resp := storage.Post(ctx, BatchPath, events)
		Expect(resp.Status).To(Equal(http.StatusCreated))
		var created struct {
			EventIDs []string `json:"event_ids"`
			Written  int
		}
		resp.Decode(&created)
		Expect(created.EventIDs).To(Equal([]string{events[0].ID, events[1].ID, events[2].ID}))
		Expect(created.Written).To(Equal(3))
	})

	It("stores every event of the batch, the last one too", func(ctx SpecContext) {
		events := series(uniqueID(), 25)
		storage.Write(ctx, events...)
		found := storage.Find(ctx, "correlation_id", events[0].CorrelationID)
		Expect(found.Pagination.Total).To(Equal(25))
		Expect(found.IDs()).To(ContainElement(events[24].ID))
	})

	It("takes a batch of 1000 events, the largest allowed", func(ctx SpecContext) {
		events := series(uniqueID(), 1000)
		storage.Write(ctx, events...)
		Expect(storage.Find(ctx, "correlation_id", events[0].CorrelationID, "limit", "1").Pagination.Total).To(Equal(1000))
	})

	It("stores nothing of a batch in which one event is not valid", func(ctx SpecContext) {
		events := series(uniqueID(), 3)
		events[1].Outcome = "perhaps"
		p := storage.Post(ctx, BatchPath, events).Problem(http.StatusBadRequest, "validation-error")
		Expect(p.Errors).To(HaveLen(1))
		Expect(p.Errors[0].Field).To(Equal("[1].event_outcome"))
		Expect(storage.Find(ctx, "correlation_id", events[0].CorrelationID).Data).To(BeEmpty())
	})

	It("stores nothing of a batch in which one event has no partition", func(ctx SpecContext) {
		events := series(uniqueID(), 3)
		events[2].Timestamp = events[2].Timestamp.AddDate(5, 0, 0)
		storage.Post(ctx, BatchPath, events).Problem(http.StatusUnprocessableEntity, "no-partition")
		Expect(storage.Find(ctx, "correlation_id", events[0].CorrelationID).Data).To(BeEmpty())
	})

	It("adds only what is new when a batch is delivered again", func(ctx SpecContext) {
		events := series(uniqueID(), 5)
		storage.Write(ctx, events[:3]...)
		storage.Write(ctx, events...)
		Expect(storage.Find(ctx, "correlation_id", events[0].CorrelationID).IDs()).To(HaveLen(5))
	})

	It("refuses an empty batch", func(ctx SpecContext) {
		storage.Post(ctx, BatchPath, []audit.Event{}).Problem(http.StatusBadRequest, "batch-size")
	})

	It("refuses a batch of more than 1000 events", func(ctx SpecContext) {
		p := storage.Post(ctx, BatchPath, make([]struct{}, 1001)).Problem(http.StatusBadRequest, "batch-size")
		Expect(p.Detail).To(ContainSubstring("not 1001"))
	})

	It("refuses an object where an array belongs", func(ctx SpecContext) {
		storage.Post(ctx, BatchPath, newEvent(uniqueID())).Problem(http.StatusBadRequest, "malformed-json")
	})
})

// series is n events a millisecond apart, the last one now.
func series(correlationID string, n int) []audit.Event {
	events := make([]audit.Event, n)
	for i := range events {
		events[i] = newEvent(correlationID)
		events[i].Timestamp = events[i].Timestamp.Add(time.Duration(i-n+1) * time.Millisecond)
	}
	return events
}
