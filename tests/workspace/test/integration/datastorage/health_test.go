package datastorage_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("The state endpoints", func() {
	DescribeTable("answer 200", func(ctx SpecContext, path, body string) {
		resp := storage.Get(ctx, path)
		Expect(resp.Status).To(Equal(http.StatusOK))
		Expect(resp.Header.Get("Content-Type")).To(Equal("application/json"))
		Expect(resp.Body).To(MatchJSON(body))
	},
		Entry("at /health", "/health", `{"status": "healthy", "database": "connected"}`),
		Entry("at /health/ready", "/health/ready", `{"status": "ready"}`),
		Entry("at /health/live", "/health/live", `{"status": "alive"}`),
	)
})

var _ = Describe("The metrics", func() {
	It("are four counters in Prometheus' text format", func(ctx SpecContext) {
		resp := metrics.Get(ctx, "")
		Expect(resp.Status).To(Equal(http.StatusOK))
		Expect(resp.Header.Get("Content-Type")).To(Equal("text/plain; version=0.0.4; charset=utf-8"))
		Expect(string(resp.Body)).To(MatchRegexp(`\A(# HELP (\w+) .+\n# TYPE \w+ counter\n\w+ \d+\n){4}\z`))
		for _, name := range []string{"written", "queued", "drained", "rejected"} {
			counter(ctx, name)
		}
	})

	It("count every event of a batch that is written", func(ctx SpecContext) {
		before := counter(ctx, "written")
		storage.Write(ctx, series(3)...)
		Expect(counter(ctx, "written")).To(BeNumerically(">=", before+3))
	})

	It("count every event of a batch that is refused for one of them", func(ctx SpecContext) {
		before := counter(ctx, "rejected")
		events := series(3)
		events[0].Outcome = "perhaps"
		storage.Post(ctx, BatchPath, events)
		Expect(counter(ctx, "rejected")).To(BeNumerically(">=", before+3))
	})

	It("have a port of their own that serves nothing else", func(ctx SpecContext) {
		elsewhere, err := url.JoinPath(metrics.URL, "..", EventsPath)
		Expect(err).NotTo(HaveOccurred())
		Expect(Storage{URL: elsewhere}.Get(ctx, "").Status).To(Equal(http.StatusNotFound))
	})
})

var _ = Describe("The routes", func() {
	DescribeTable("answer another method than theirs with 405 and those that there are",
		func(ctx SpecContext, path, allowed string, methods ...string) {
			for _, method := range methods {
				resp := storage.Do(ctx, method, path, "", nil)
				Expect(resp.Problem(http.StatusMethodNotAllowed, "method-not-allowed").Instance).To(Equal(path))
				Expect(resp.Header.Get("Allow")).To(Equal(allowed))
			}
		},
		Entry("at events, which are never changed or removed", EventsPath, "GET, POST", "PUT", "PATCH", "DELETE"),
		Entry("at a batch, which is not read", BatchPath, "POST", "GET", "PUT", "PATCH", "DELETE"),
		Entry("at /health", "/health", "GET", "POST", "DELETE"),
		Entry("at /health/ready", "/health/ready", "GET", "POST", "DELETE"),
		Entry("at /health/live", "/health/live", "GET", "POST", "DELETE"),
	)

	DescribeTable("answer any other path with 404 and name it", func(ctx SpecContext, path string) {
		Expect(storage.Get(ctx, path).Problem(http.StatusNotFound, "not-found").Instance).To(Equal(path))
	},
		Entry("another version of the API", "/api/v2/audit/events"),
		Entry("a single event", EventsPath+"/00000000-0000-0000-0000-000000000000"),
		Entry("metrics on the API's port", "/metrics"),
	)
})

func counter(ctx context.Context, name string) int {
	GinkgoHelper()
	resp := metrics.Get(ctx, "")
	match := regexp.MustCompile(fmt.Sprintf(`(?m)^datastorage_events_%s_total (\d+)$`, name)).FindSubmatch(resp.Body)
	Expect(match).NotTo(BeNil(), "no metric for %s events", name)
	value, err := strconv.Atoi(string(match[1]))
	Expect(err).NotTo(HaveOccurred())
	return value
}
