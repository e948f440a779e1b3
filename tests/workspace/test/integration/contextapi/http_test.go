package contextapi_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
	"github.com/kubernaut/workspace/pkg/problem"
)

var _ = Describe("The HTTP API", func() {
	var service *replica
	BeforeEach(func() { service = newReplica(prefix()) })

	It("says in a header which tier an answer is from", func(ctx SpecContext) {
		path := contextapi.StatisticsPath + "?namespace=payments"
		Expect(service.api.Get(ctx, path).Header.Get(contextapi.TierHeader)).To(Equal("database"))
		Expect(service.api.Get(ctx, path).Header.Get(contextapi.TierHeader)).To(Equal("memory"))
	})

	It("answers a request that is not valid with a problem of RFC 7807 that names all fields", func(ctx SpecContext) {
		resp := service.api.Get(ctx, contextapi.ActionsPath+"?limit=501&offset=-1&status=done&since=today&nmespace=x")
		p := resp.Problem(http.StatusBadRequest, "validation-error")
		Expect(p.Type).To(HavePrefix("https://"))
		Expect(p.Instance).To(Equal(contextapi.ActionsPath))
		Expect(p.Errors).To(ConsistOf(
			problem.FieldError{Field: "limit", Message: "must be a number from 1 to 500"},
			HaveField("Field", "offset"), HaveField("Field", "since"),
			problem.FieldError{Field: "status", Message: "must be one of pending, executing, completed, failed, rolled_back"},
			problem.FieldError{Field: "nmespace", Message: "is not known here; there are cluster, namespace, kind, name, action_type, status, since, until, limit, offset"}))
		Expect(service.source.queries.Load()).To(BeZero())
	})

	It("lists the groups that success rates can be asked by", func(ctx SpecContext) {
		p := service.api.Get(ctx, contextapi.RatesPath).Problem(http.StatusBadRequest, "validation-error")
		Expect(p.Errors).To(ConsistOf(problem.FieldError{Field: "group_by", Message: "must be one of action_type, cluster, namespace, kind"}))
	})

	DescribeTable("refuses a search with", func(ctx SpecContext, body map[string]any, field string) {
		p := service.api.Post(ctx, contextapi.SimilarPath, body).Problem(http.StatusBadRequest, "validation-error")
		Expect(p.Errors).To(ConsistOf(HaveField("Field", field)))
	},
		Entry("nothing to look for", map[string]any{"limit": 3}, "text"),
		Entry("an embedding of another length", map[string]any{"embedding": []float32{1, 0, 0}}, "embedding"),
		Entry("a threshold that no cosine has", map[string]any{"text": "pod", "threshold": 1.5}, "threshold"),
	)

	It("has nothing to say of an action that there is not", func(ctx SpecContext) {
		remember(ctx, action{})
		for _, id := range []string{"00000000-0000-4000-8000-000000000000", strconv.Itoa(offset), url.PathEscape("' OR '1'='1")} {
			service.api.Get(ctx, contextapi.ActionsPath+"/"+id).Problem(http.StatusNotFound, "action-not-found")
		}
	})

	It("tells of a database that it cannot reach, and not where that is", func(ctx SpecContext) {
		nowhere, err := pgxpool.New(ctx, "postgres://slm_user:secret@"+closedPort()+"/action_history")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(nowhere.Close)
		service.source.Source = &contextapi.Store{Pool: nowhere}
		resp := service.api.Get(ctx, contextapi.ActionsPath)
		resp.Problem(http.StatusServiceUnavailable, "history-unavailable")
		Expect(strings.ToLower(string(resp.Body))).NotTo(Or(ContainSubstring("127.0.0.1"), ContainSubstring("slm_user")))
		resp = service.api.Get(ctx, contextapi.HealthPath)
		Expect(resp.Status).To(Equal(http.StatusServiceUnavailable))
		Expect(resp.Body).To(MatchJSON(`{"status": "unhealthy", "database": "disconnected", "redis": "connected"}`))
	})

	It("is healthy with both, and degraded without Redis", func(ctx SpecContext) {
		resp := service.api.Get(ctx, contextapi.HealthPath)
		Expect(resp.Body).To(MatchJSON(`{"status": "healthy", "database": "connected", "redis": "connected"}`))
		resp = newReplica(prefix(), redisAt(closedPort())).api.Get(ctx, contextapi.HealthPath)
		Expect(resp.Status).To(Equal(http.StatusOK))
		Expect(resp.Body).To(MatchJSON(`{"status": "degraded", "database": "connected", "redis": "disconnected"}`))
	})

	It("invalidates what it is told to", func(ctx SpecContext) {
		service.list(ctx, "namespace", "payments")
		remember(ctx, action{})
		resp := service.api.Post(ctx, contextapi.InvalidationPath, map[string]string{"namespace": "payments"})
		Expect(resp.Status).To(Equal(http.StatusNoContent))
		Expect(service.list(ctx, "namespace", "payments").Data).To(HaveLen(1))
	})
})
