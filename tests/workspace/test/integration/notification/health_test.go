package notification_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("DataStorage's own state", func() {
	It("says that it is healthy and connected to its database", func(ctx SpecContext) {
		resp := storage.Get(ctx, "/health")
		Expect(resp.Status).To(Equal(http.StatusOK))
		Expect(resp.Body).To(MatchJSON(`{"status": "healthy", "database": "connected"}`))
	})

	It("is ready for requests", func(ctx SpecContext) {
		resp := storage.Get(ctx, "/health/ready")
		Expect(resp.Status).To(Equal(http.StatusOK))
		Expect(resp.Body).To(MatchJSON(`{"status": "ready"}`))
	})

	It("is alive", func(ctx SpecContext) {
		Expect(storage.Get(ctx, "/health/live").Status).To(Equal(http.StatusOK))
	})

	It("serves its metrics in Prometheus' text format on a port of their own", func(ctx SpecContext) {
		resp := scrape(ctx)
		Expect(resp.Status).To(Equal(http.StatusOK))
		Expect(resp.Header.Get("Content-Type")).To(HavePrefix("text/plain; version=0.0.4"))
		Expect(string(resp.Body)).To(ContainSubstring("# TYPE datastorage_events_written_total counter"))
	})

	It("does not serve metrics on the port of the API", func(ctx SpecContext) {
		Expect(storage.Get(ctx, "/metrics").Status).To(Equal(http.StatusNotFound))
	})

	It("counts the events that it writes", func(ctx SpecContext) {
		before := counter(ctx, "written")
		storage.Write(ctx, newEvent(uniqueID()), newEvent(uniqueID()))
		Expect(counter(ctx, "written")).To(BeNumerically(">=", before+2))
	})

	It("counts the events that it refuses", func(ctx SpecContext) {
		before := counter(ctx, "rejected")
		storage.Post(ctx, EventsPath, map[string]string{})
		Expect(counter(ctx, "rejected")).To(BeNumerically(">=", before+1))
	})
})

func scrape(ctx context.Context) Response {
	GinkgoHelper()
	resp, err := Storage{URL: metricsURL}.Try(ctx, http.MethodGet, "", "", nil)
	Expect(err).NotTo(HaveOccurred())
	return resp
}

func counter(ctx context.Context, name string) int {
	GinkgoHelper()
	line := regexp.MustCompile(fmt.Sprintf(`(?m)^datastorage_events_%s_total (\d+)$`, name))
	match := line.FindSubmatch(scrape(ctx).Body)
	Expect(match).NotTo(BeNil(), "no metric for %s events", name)
	value, err := strconv.Atoi(string(match[1]))
	Expect(err).NotTo(HaveOccurred())
	return value
}
