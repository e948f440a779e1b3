package notification_test

import (
	"encoding/json"
	"net/http"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/problem"
	. "github.com/kubernaut/workspace/test/support"
)

// changed is a valid event as loose JSON, in which specs put what Go's types
// would not let them.
func changed(field string, value any) map[string]any {
	GinkgoHelper()
	text, err := json.Marshal(newEvent(uniqueID()))
	Expect(err).NotTo(HaveOccurred())
	var loose map[string]any
	Expect(json.Unmarshal(text, &loose)).To(Succeed())
	if value == nil {
		delete(loose, field)
	} else {
		loose[field] = value
	}
	return loose
}

var _ = Describe("A request that is not valid", func() {
	It("is told of every required field that is missing, at once", func(ctx SpecContext) {
		p := storage.Post(ctx, EventsPath, map[string]any{}).Problem(http.StatusBadRequest, "validation-error")
		for _, field := range []string{"version", "event_type", "event_timestamp", "event_category",
			"event_action", "event_outcome", "correlation_id", "event_data"} {
			Expect(p.Errors).To(ContainElement(problem.FieldError{Field: field, Message: "is required"}))
		}
	})

	It("gets a problem with all members of RFC 7807", func(ctx SpecContext) {
		p := storage.Post(ctx, EventsPath, changed("event_type", nil)).Problem(http.StatusBadRequest, "validation-error")
		Expect(p.Type).To(HavePrefix("https://"))
		Expect(p.Title).To(Equal("Validation failed"))
		Expect(p.Detail).To(Equal("event_type: is required"))
		Expect(p.Instance).To(Equal(EventsPath))
	})

	It("is told which categories there are", func(ctx SpecContext) {
		expectFieldError(ctx, changed("event_category", "notifications"), "event_category", "must be one of gateway, notification, ")
	})

	It("is told which outcomes there are", func(ctx SpecContext) {
		expectFieldError(ctx, changed("event_outcome", "ok"), "event_outcome", "must be one of success, failure, pending")
	})

	It("is told that a timestamp has to be RFC 3339", func(ctx SpecContext) {
		expectFieldError(ctx, changed("event_timestamp", "21.11.2026 10:00"), "event_timestamp", "must be an RFC 3339 time")
	})

	It("is told that event_data has to be an object", func(ctx SpecContext) {
		expectFieldError(ctx, changed("event_data", []int{1, 2}), "event_data", "must be an object")
	})

	It("is told that a number is no string", func(ctx SpecContext) {
		expectFieldError(ctx, changed("version", 1), "version", "must be a string")
	})

	It("is told that blanks are no value", func(ctx SpecContext) {
		expectFieldError(ctx, changed("correlation_id", "   "), "correlation_id", "is required")
	})

	It("is told how long a value may be", func(ctx SpecContext) {
		expectFieldError(ctx, changed("event_type", strings.Repeat("x", 101)), "event_type", "must have at most 100 characters")
	})

	It("is told that an id has to be a UUID", func(ctx SpecContext) {
		expectFieldError(ctx, changed("event_id", "42"), "event_id", "must be a UUID")
	})

	It("is told of a field that events do not have", func(ctx SpecContext) {
		expectFieldError(ctx, changed("event_typ", "misspelt"), "event_typ", "is not a field of an event")
	})

	It("leaves nothing behind", func(ctx SpecContext) {
		loose := changed("event_outcome", "ok")
		storage.Post(ctx, EventsPath, loose)
		Expect(storage.Find(ctx, "correlation_id", loose["correlation_id"].(string)).Data).To(BeEmpty())
	})

	It("is refused when it is no JSON", func(ctx SpecContext) {
		resp := storage.Do(ctx, http.MethodPost, EventsPath, "application/json", []byte(`{"version": `))
		resp.Problem(http.StatusBadRequest, "malformed-json")
	})

	It("is refused when its content type is not JSON", func(ctx SpecContext) {
		resp := storage.Do(ctx, http.MethodPost, EventsPath, "application/x-www-form-urlencoded", []byte(`version=1.0`))
		resp.Problem(http.StatusUnsupportedMediaType, "unsupported-media-type")
	})

	It("is refused when it is larger than a megabyte", func(ctx SpecContext) {
		loose := changed("event_data", map[string]string{"body": strings.Repeat("x", 1<<20)})
		p := storage.Post(ctx, EventsPath, loose).Problem(http.StatusRequestEntityTooLarge, "body-too-large")
		Expect(p.Detail).To(ContainSubstring("1048576 bytes"))
	})

	It("is told which methods a path has", func(ctx SpecContext) {
		resp := storage.Do(ctx, http.MethodDelete, EventsPath, "", nil)
		resp.Problem(http.StatusMethodNotAllowed, "method-not-allowed")
		Expect(resp.Header.Get("Allow")).To(Equal("GET, POST"))
	})

	It("is told that a path does not exist", func(ctx SpecContext) {
		p := storage.Get(ctx, "/api/v2/audit/events").Problem(http.StatusNotFound, "not-found")
		Expect(p.Instance).To(Equal("/api/v2/audit/events"))
	})

	It("is told that a limit is out of range", func(ctx SpecContext) {
		p := storage.Get(ctx, EventsPath+"?limit=1001").Problem(http.StatusBadRequest, "validation-error")
		Expect(p.Errors).To(ConsistOf(problem.FieldError{Field: "limit", Message: "must be a number from 1 to 1000"}))
	})

	It("is told that since has to be earlier than until", func(ctx SpecContext) {
		resp := storage.Get(ctx, EventsPath+"?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z")
		Expect(resp.Problem(http.StatusBadRequest, "validation-error").Errors[0].Field).To(Equal("until"))
	})

	It("is told of a filter that does not exist", func(ctx SpecContext) {
		p := storage.Get(ctx, EventsPath+"?corelation_id=misspelt").Problem(http.StatusBadRequest, "validation-error")
		Expect(p.Errors[0].Field).To(Equal("corelation_id"))
	})
})

func expectFieldError(ctx SpecContext, event map[string]any, field, message string) {
	GinkgoHelper()
	p := storage.Post(ctx, EventsPath, event).Problem(http.StatusBadRequest, "validation-error")
	Expect(p.Errors).To(HaveLen(1))
	Expect(p.Errors[0].Field).To(Equal(field))
	Expect(p.Errors[0].Message).To(HavePrefix(message))
}
