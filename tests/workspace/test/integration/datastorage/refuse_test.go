package datastorage_test

import (
	"encoding/json"
	"net/http"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/problem"
	. "github.com/kubernaut/workspace/test/support"
)

// wrong is a value of a member and the message that it gets.
type wrong struct {
	value   any
	message string
}

// text is what is wrong for a text of at most n characters.
func text(n int, tooLong string) []wrong {
	return []wrong{
		{nil, "is required"}, {"", "is required"}, {" \t", "is required"}, {7, "must be a string"},
		{strings.Repeat("ü", n+1), tooLong}, {"a\x00b", "must not contain a NUL character"},
	}
}

var _ = Describe("An event that is not valid", func() {
	DescribeTable("gets 400 with the member and the reason, for each wrong", func(ctx SpecContext, member string, wrongs []wrong) {
		for _, w := range wrongs {
			p := storage.Post(ctx, EventsPath, loose(member, w.value)).Problem(http.StatusBadRequest, "validation-error")
			Expect(p.Errors).To(Equal([]problem.FieldError{{Field: member, Message: w.message}}), "%v", w.value)
			Expect(p.Detail).To(Equal(member + ": " + w.message))
		}
	},
		Entry("version", "version", text(16, "must have at most 16 characters")),
		Entry("event_type", "event_type", text(100, "must have at most 100 characters")),
		Entry("event_action", "event_action", text(100, "must have at most 100 characters")),
		Entry("correlation_id", "correlation_id", text(255, "must have at most 255 characters")),
		Entry("event_category", "event_category", []wrong{
			{nil, "is required"}, {true, "must be a string"},
			{"Gateway", "must be one of gateway, notification, analysis, signalprocessing, workflow, execution, orchestration"},
		}),
		Entry("event_outcome", "event_outcome", []wrong{
			{nil, "is required"}, {[]string{"success"}, "must be a string"}, {"ok", "must be one of success, failure, pending"},
		}),
		Entry("event_timestamp", "event_timestamp", []wrong{
			{nil, "is required"}, {1767268800, "must be a string"}, {"2026-01-01", "must be an RFC 3339 time"},
			{"2026-01-01T12:00:00", "must be an RFC 3339 time"}, {"2026-02-30T12:00:00Z", "must be an RFC 3339 time"},
		}),
		Entry("event_data", "event_data", []wrong{
			{nil, "is required"}, {"{}", "must be an object"}, {[]int{}, "must be an object"}, {0, "must be an object"},
		}),
		Entry("event_id", "event_id", []wrong{{1, "must be a string"}, {"1", "must be a UUID"}}),
		Entry("member that events do not have", "event_typ", []wrong{{"misspelt", "is not a field of an event"}}),
	)

	It("is valid at the longest that its texts may be, counted in characters", func(ctx SpecContext) {
		for member, n := range map[string]int{"version": 16, "event_type": 100, "event_action": 100} {
			value := strings.Repeat("ü", n)
			id := receiptOf(storage.Post(ctx, EventsPath, loose(member, value)), http.StatusCreated).EventID
			Expect(one[string](ctx, database, `SELECT to_jsonb(a)->>$2 FROM audit_events a WHERE event_id = $1`, id, member)).To(Equal(value))
		}
	})

	It("gets all that is wrong with it in one answer, sorted", func(ctx SpecContext) {
		p := storage.Post(ctx, EventsPath, map[string]any{"version": 1, "colour": "red"}).Problem(http.StatusBadRequest, "validation-error")
		var members []string
		for _, err := range p.Errors {
			members = append(members, err.Field)
		}
		Expect(members).To(Equal([]string{"colour", "correlation_id", "event_action", "event_category", "event_data",
			"event_outcome", "event_timestamp", "event_type", "version"}))
		Expect(p.Title).To(Equal("Validation failed"))
		Expect(p.Instance).To(Equal(EventsPath))
	})

	It("is not stored", func(ctx SpecContext) {
		event := loose("event_outcome", "ok")
		storage.Post(ctx, EventsPath, event)
		Expect(storage.Find(ctx, "correlation_id", event["correlation_id"].(string)).Data).To(BeEmpty())
	})
})

var _ = Describe("A body that is no event", func() {
	DescribeTable("gets 400", func(ctx SpecContext, path, kind string, bodies ...string) {
		for _, body := range bodies {
			storage.Do(ctx, http.MethodPost, path, "application/json", []byte(body)).Problem(http.StatusBadRequest, kind)
		}
	},
		Entry("for what is not JSON", EventsPath, "malformed-json", "", `{"version": `, `{} {}`),
		Entry("for JSON that is no object", EventsPath, "validation-error", "null", "1", "[{}]"),
		Entry("for JSON that is no array where a batch belongs", BatchPath, "malformed-json", "", "{}", "1"),
		Entry("for what is no object in a batch", BatchPath, "validation-error", "[null]", "[1]", "[[]]"),
	)

	It("gets 415 unless it says that it is JSON", func(ctx SpecContext) {
		body, err := json.Marshal(newEvent())
		Expect(err).NotTo(HaveOccurred())
		for _, path := range []string{EventsPath, BatchPath} {
			for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", problem.ContentType} {
				p := storage.Do(ctx, http.MethodPost, path, contentType, body).Problem(http.StatusUnsupportedMediaType, "unsupported-media-type")
				Expect(p.Detail).To(HaveSuffix("not %q", contentType))
			}
		}
	})

	It("is taken when it says the character set of its JSON", func(ctx SpecContext) {
		body, err := json.Marshal(newEvent())
		Expect(err).NotTo(HaveOccurred())
		receiptOf(storage.Do(ctx, http.MethodPost, EventsPath, "application/json; charset=utf-8", body), http.StatusCreated)
	})

	It("may have a megabyte, and gets 413 for a byte more", func(ctx SpecContext) {
		body, err := json.Marshal(newEvent())
		Expect(err).NotTo(HaveOccurred())
		body = append(body, strings.Repeat(" ", 1<<20-len(body))...)
		receiptOf(storage.Do(ctx, http.MethodPost, EventsPath, "application/json", body), http.StatusCreated)
		p := storage.Do(ctx, http.MethodPost, EventsPath, "application/json", append(body, ' ')).
			Problem(http.StatusRequestEntityTooLarge, "body-too-large")
		Expect(p.Detail).To(Equal("the body must have at most 1048576 bytes"))
	})
})
