package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/gateway"
	"github.com/kubernaut/workspace/pkg/problem"
	. "github.com/kubernaut/workspace/test/support"
)

type object = map[string]any

// alert is one of a webhook, about a pod.
func alert(status, pod string) object {
	return object{"status": status, "startsAt": time.Now().Format(time.RFC3339), "annotations": object{"summary": "memory is short"},
		"labels": object{"alertname": "HighMemory", "severity": "warning", "namespace": "payments", "pod": pod, "node": "n1"}}
}

func webhook(alerts ...object) object {
	return object{"version": "4", "receiver": "kubernaut", "status": "firing", "alerts": alerts}
}

func event(kind, reason string) object {
	return object{"kind": "Event", "type": kind, "reason": reason, "message": "Back-off restarting failed container", "count": 7,
		"involvedObject": object{"kind": "Pod", "namespace": "payments", "name": "api-1"}}
}

var _ = Describe("The HTTP API", func() {
	var (
		payments *cluster
		service  *replica
	)
	BeforeEach(func() {
		payments = &cluster{}
		service = newReplica(prefix(), payments)
	})

	// post expects that all signals are taken.
	post := func(ctx context.Context, path string, body object, status int) []gateway.Decision {
		GinkgoHelper()
		resp := service.api.Post(ctx, path, body)
		Expect(resp.Status).To(Equal(status), "%s", resp.Body)
		var answer struct{ Decisions []gateway.Decision }
		resp.Decode(&answer)
		return answer.Decisions
	}

	It("creates for an alert, and accepts that it comes again", func(ctx SpecContext) {
		first := post(ctx, gateway.PrometheusPath, webhook(alert("firing", "api-1")), http.StatusCreated)
		again := post(ctx, gateway.PrometheusPath, webhook(alert("firing", "api-1")), http.StatusAccepted)
		Expect(first).To(HaveExactElements(HaveField("Outcome", gateway.Created)))
		Expect(again).To(HaveExactElements(And(HaveField("Outcome", gateway.Duplicate),
			HaveField("Count", 2), HaveField("Remediation", first[0].Remediation))))
	})

	It("reads from the labels what an alert is about", func(ctx SpecContext) {
		post(ctx, gateway.PrometheusPath, webhook(alert("firing", "api-1")), http.StatusCreated)
		Expect(payments.remediations()).To(HaveExactElements(HaveField("Signal", gateway.Signal{Source: "prometheus", Name: "HighMemory",
			Severity: "warning", Namespace: "payments", Kind: "Pod", Resource: "api-1", Message: "memory is short"})))
	})

	It("decides on each alert of a webhook, in their order", func(ctx SpecContext) {
		decisions := post(ctx, gateway.PrometheusPath,
			webhook(alert("firing", "api-1"), alert("firing", "api-2"), alert("firing", "api-1")), http.StatusCreated)
		Expect(decisions).To(HaveExactElements(HaveField("Outcome", gateway.Created), HaveField("Outcome", gateway.Created),
			And(HaveField("Outcome", gateway.Duplicate), HaveField("Remediation", decisions[0].Remediation))))
	})

	It("ends the window of an alert that is resolved", func(ctx SpecContext) {
		post(ctx, gateway.PrometheusPath, webhook(alert("firing", "api-1")), http.StatusCreated)
		Expect(post(ctx, gateway.PrometheusPath, webhook(alert("resolved", "api-1")), http.StatusAccepted)).
			To(HaveExactElements(HaveField("Outcome", gateway.Resolved)))
		post(ctx, gateway.PrometheusPath, webhook(alert("firing", "api-1")), http.StatusCreated)
		Expect(payments.remediations()).To(HaveLen(2))
	})

	It("ignores the end of what it has not heard of", func(ctx SpecContext) {
		Expect(post(ctx, gateway.PrometheusPath, webhook(alert("resolved", "api-1")), http.StatusAccepted)).
			To(HaveExactElements(HaveField("Outcome", gateway.Ignored)))
	})

	It("creates for an event that warns, and not for one that is normal", func(ctx SpecContext) {
		Expect(post(ctx, gateway.EventPath, event("Normal", "Scheduled"), http.StatusAccepted)).
			To(HaveExactElements(HaveField("Outcome", gateway.Ignored)))
		post(ctx, gateway.EventPath, event("Warning", "BackOff"), http.StatusCreated)
		Expect(payments.remediations()).To(HaveExactElements(HaveField("Signal", And(HaveField("Source", "kubernetes-event"),
			HaveField("Name", "BackOff"), HaveField("Kind", "Pod"), HaveField("Resource", "api-1")))))
	})

	It("tells of a window, and of one that there is not", func(ctx SpecContext) {
		decision := post(ctx, gateway.EventPath, event("Warning", "BackOff"), http.StatusCreated)[0]
		var window gateway.Window
		service.api.Get(ctx, gateway.WindowsPath+"/"+decision.Fingerprint).Decode(&window)
		Expect(window).To(And(HaveField("Count", 1), HaveField("Remediation", decision.Remediation)))
		Expect(window.First).To(BeTemporally("~", time.Now(), 10*time.Second))
		service.api.Get(ctx, gateway.WindowsPath+"/unknown").Problem(http.StatusNotFound, "window-not-found")
	})

	It("takes nothing of a webhook of which one alert is not valid, and says which", func(ctx SpecContext) {
		nameless := alert("firing", "api-2")
		delete(nameless["labels"].(object), "alertname")
		p := service.api.Post(ctx, gateway.PrometheusPath, webhook(alert("firing", "api-1"), nameless)).Problem(http.StatusBadRequest, "validation-error")
		Expect(p.Errors).To(ConsistOf(problem.FieldError{Field: "alerts[1].labels.alertname", Message: "is required"}))
		Expect(p.Instance).To(Equal(gateway.PrometheusPath))
		Expect(payments.remediations()).To(BeEmpty())
	})

	DescribeTable("refuses", func(ctx SpecContext, method, path, contentType, body string, status int, kind string) {
		service.api.Do(ctx, method, path, contentType, []byte(body)).Problem(status, kind)
		Expect(payments.remediations()).To(BeEmpty())
	},
		Entry("what is no JSON", "POST", gateway.PrometheusPath, "application/json", `{"alerts": [`, 400, "malformed-json"),
		Entry("another content type", "POST", gateway.EventPath, "text/plain", `{}`, 415, "unsupported-media-type"),
		Entry("more than a megabyte", "POST", gateway.EventPath, "application/json", `{"message": "`+strings.Repeat("x", 1<<20)+`"}`, 413, "body-too-large"),
		Entry("another method", "GET", gateway.PrometheusPath, "", "", 405, "method-not-allowed"),
	)

	It("does not act without Redis, says so, and asks to be sent the signal again", func(ctx SpecContext) {
		gone := redisAt(closedPort(), "0")
		service = newReplica(prefix(), payments, func(d *gateway.Deduplicator) { d.Redis = gone })
		resp := service.api.Post(ctx, gateway.PrometheusPath, webhook(alert("firing", "api-1")))
		resp.Problem(http.StatusServiceUnavailable, "gateway-unavailable")
		Expect(resp.Header.Get("Retry-After")).To(Equal("5"))
		Expect(payments.remediations()).To(BeEmpty())
		Expect(service.api.Get(ctx, gateway.HealthPath).Status).To(Equal(http.StatusServiceUnavailable))
	})

	It("is healthy with Redis", func(ctx SpecContext) {
		resp := service.api.Get(ctx, gateway.HealthPath)
		Expect(resp.Status).To(Equal(http.StatusOK))
		Expect(resp.Body).To(MatchJSON(`{"status": "healthy", "redis": "connected"}`))
	})
})

var _ = Describe("The keys of a gateway", func() {
	It("all begin with its prefix, and all have an end", func(ctx SpecContext) {
		service := newReplica(prefix(), &cluster{}, func(d *gateway.Deduplicator) { d.StormThreshold = 1 })
		service.take(ctx, about("api-1"))
		service.take(ctx, about("api-2"))
		keys, err := cache.Keys(ctx, service.Dedup.Prefix+":gateway:*").Result()
		Expect(err).NotTo(HaveOccurred())
		Expect(keys).To(HaveLen(4), "two windows, a rate and a storm")
		for _, key := range keys {
			Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically(">", 0), key)
		}
	})

	It("are not seen by a gateway that has another", func(ctx SpecContext) {
		one, other := newReplica(prefix(), &cluster{}), newReplica(prefix(), &cluster{})
		Expect(one.take(ctx, about("api-1")).Outcome).To(Equal(gateway.Created))
		Expect(other.take(ctx, about("api-1")).Outcome).To(Equal(gateway.Created))
	})

	It("are in the Redis database of this worker alone, under a name of its own", func(ctx SpecContext) {
		service := newReplica(prefix(), &cluster{})
		key := service.Dedup.WindowKey(service.take(ctx, about("api-1")).Fingerprint)
		Expect(cache.Exists(ctx, key).Result()).To(Equal(int64(1)))
		for _, db := range ofOthers("REDIS_DB") {
			Expect(redisAt(Required("REDIS_ADDR"), db).Exists(ctx, key).Result()).To(BeZero(), "Redis database %s", db)
		}
		Expect(ofOthers("NAMESPACE")).NotTo(ContainElement(namespace))
	})
})
