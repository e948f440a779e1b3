package datastorage_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	. "github.com/kubernaut/workspace/test/support"
)

// trail is six events, one a second, that differ in what filters look at.
func trail() []audit.Event {
	events := series(6)
	last := events[5].Timestamp.Truncate(time.Second)
	for i := range events {
		events[i].Timestamp = last.Add(time.Duration(i-5) * time.Second)
	}
	events[1].Outcome = "failure"
	events[2].Category, events[2].Type = "workflow", "workflow.step.started"
	events[3].Category, events[3].Type, events[3].Outcome = "workflow", "workflow.step.failed", "failure"
	events[4].Category, events[4].Outcome = "execution", "pending"
	return events
}

var _ = Describe("GET of events", func() {
	// A filter's value may be the time of an event: "@2" is that of the third.
	DescribeTable("finds", func(ctx SpecContext, filter []string, want ...int) {
		events := trail()
		storage.Write(ctx, events...)
		storage.Write(ctx, newEvent())
		query := []string{"correlation_id", events[0].CorrelationID}
		for _, part := range filter {
			if at, isTime := strings.CutPrefix(part, "@"); isTime {
				i, err := strconv.Atoi(at)
				Expect(err).NotTo(HaveOccurred())
				part = events[i].Timestamp.Format(time.RFC3339)
			}
			query = append(query, part)
		}
		expected := []string{}
		for _, i := range want {
			expected = append(expected, events[i].ID)
		}
		Expect(storage.Find(ctx, query...).IDs()).To(Equal(expected))
	},
		Entry("all of a correlation id, the newest first", nil, 5, 4, 3, 2, 1, 0),
		Entry("by event_type", []string{"event_type", "workflow.step.failed"}, 3),
		Entry("by event_category", []string{"event_category", "workflow"}, 3, 2),
		Entry("by event_outcome", []string{"event_outcome", "failure"}, 3, 1),
		Entry("since a time, that of an event included", []string{"since", "@4"}, 5, 4),
		Entry("until a time, that of an event excluded", []string{"until", "@2"}, 1, 0),
		Entry("by all filters at once", []string{"event_type", "gateway.signal.received", "event_category", "gateway",
			"event_outcome", "success", "since", "@0", "until", "@5", "limit", "10", "offset", "0"}, 0),
		Entry("nothing for a type that nobody wrote", []string{"event_type", "' OR '1'='1"}),
		Entry("all when filters are empty", []string{"event_type", "", "event_category", "", "event_outcome", "", "since", "", "until", "",
			"limit", "", "offset", ""}, 5, 4, 3, 2, 1, 0),
	)

	It("finds the events of several correlation ids when it is not asked for one", func(ctx SpecContext) {
		a, b := newEvent(), newEvent()
		a.Type = UniqueID("type")
		b.Type = a.Type
		storage.Write(ctx, a, b, newEvent())
		Expect(storage.Find(ctx, "event_type", a.Type).IDs()).To(ConsistOf(ids(a, b)))
	})

	It("lists events of the same time by their ids, so that pages do not overlap", func(ctx SpecContext) {
		events := series(7)
		for i := range events {
			events[i].Timestamp = events[0].Timestamp
		}
		storage.Write(ctx, events...)
		want := ids(events...)
		slices.Sort(want)
		slices.Reverse(want)
		var found []string
		for offset := 0; offset < 7; offset += 2 {
			page := storage.Find(ctx, "correlation_id", events[0].CorrelationID, "limit", "2", "offset", strconv.Itoa(offset))
			found = append(found, page.IDs()...)
		}
		Expect(found).To(Equal(want))
	})

	DescribeTable("pages", func(ctx SpecContext, limit, offset string, first, n int, more bool) {
		events := series(5)
		storage.Write(ctx, events...)
		found := storage.Find(ctx, "correlation_id", events[0].CorrelationID, "limit", limit, "offset", offset)
		slices.Reverse(events)
		Expect(found.IDs()).To(Equal(ids(events[first : first+n]...)))
		Expect(found.Pagination.Total).To(Equal(5))
		Expect(found.Pagination.HasMore).To(Equal(more))
	},
		Entry("the middle, with more to come", "2", "2", 2, 2, true),
		Entry("the end, shorter than its limit", "2", "4", 4, 1, false),
		Entry("all in one page that is just full", "5", "0", 0, 5, false),
		Entry("nothing beyond the end", "1000", "5", 0, 0, false),
	)

	It("has 100 events in a page when it is not told", func(ctx SpecContext) {
		events := series(101)
		storage.Write(ctx, events...)
		found := stored(ctx, events[0])
		Expect(found.Data).To(HaveLen(100))
		Expect(found.Pagination).To(And(HaveField("Limit", 100), HaveField("Offset", 0), HaveField("HasMore", true)))
	})

	It("answers an array that is empty, not null", func(ctx SpecContext) {
		resp := storage.Get(ctx, EventsPath+"?correlation_id="+UniqueID("nobody"))
		Expect(resp.Header.Get("Content-Type")).To(Equal("application/json"))
		Expect(resp.Body).To(MatchJSON(`{"data": [], "pagination": {"limit": 100, "offset": 0, "total": 0, "has_more": false}}`))
	})

	DescribeTable("answers 400 and names the filter for", func(ctx SpecContext, field, message string, queries ...string) {
		for _, query := range queries {
			p := storage.Get(ctx, EventsPath+"?"+query).Problem(http.StatusBadRequest, "validation-error")
			Expect(p.Errors).To(ConsistOf(And(HaveField("Field", field), HaveField("Message", HavePrefix(message)))), query)
		}
	},
		Entry("a limit that is not from 1 to 1000", "limit", "must be a number from 1 to 1000", "limit=0", "limit=1001", "limit=all"),
		Entry("an offset that is not from 0", "offset", "must be a number from 0", "offset=-1", "offset=1.5", "offset=99999999999"),
		Entry("since that is no time", "since", "must be an RFC 3339 time", "since=2026-01-01", "since=yesterday"),
		Entry("until that is not later than since", "until", "must be later than since",
			"since=2026-01-01T00:00:00Z&until=2026-01-01T00:00:00Z", "since=2026-01-01T00:00:00Z&until=2026-01-01T00:30:00%2B01:00"),
		Entry("a category of nobody", "event_category", "must be one of gateway, ", "event_category=Gateway"),
		Entry("an outcome of nobody", "event_outcome", "must be one of success, failure, pending", "event_outcome=ok"),
		Entry("a filter given twice", "event_type", "is given more than once", "event_type=a&event_type=b"),
		Entry("a filter that does not exist", "corelation_id", "is not a filter; there are correlation_id, ", "corelation_id=c"),
		Entry("a NUL", "event_type", "must not contain a NUL character", "event_type=%00"),
	)
})
