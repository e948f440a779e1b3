package notification_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
)

const (
	eventsPath = "/api/v1/audit/events"
	batchPath  = eventsPath + "/batch"
)

var httpClient = &http.Client{Timeout: 10 * time.Second}

// api is DataStorage as a plain HTTP client sees it.
type api struct{ url string }

type response struct {
	Status int
	Header http.Header
	Body   []byte
}

type page struct {
	Data       []audit.Event
	Pagination struct {
		Limit, Offset, Total int
		HasMore              bool `json:"has_more"`
	}
}

func (a api) try(ctx context.Context, method, path, contentType string, body []byte) (response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return response{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return response{Status: resp.StatusCode, Header: resp.Header, Body: text}, err
}

func (a api) do(ctx context.Context, method, path, contentType string, body []byte) response {
	GinkgoHelper()
	resp, err := a.try(ctx, method, path, contentType, body)
	Expect(err).NotTo(HaveOccurred())
	return resp
}

func (a api) get(ctx context.Context, path string) response {
	GinkgoHelper()
	return a.do(ctx, http.MethodGet, path, "", nil)
}

func (a api) post(ctx context.Context, path string, body any) response {
	GinkgoHelper()
	text, err := json.Marshal(body)
	Expect(err).NotTo(HaveOccurred())
	return a.do(ctx, http.MethodPost, path, "application/json", text)
}

// write stores events by one request and expects that it works.
func (a api) write(ctx context.Context, events ...audit.Event) {
	GinkgoHelper()
	resp := a.post(ctx, batchPath, events)
	Expect(resp.Status).To(Equal(http.StatusCreated), "%s", resp.Body)
}

// find reads the events that have all of the given filter's values: key, value, key, value.
func (a api) find(ctx context.Context, filter ...string) page {
	GinkgoHelper()
	query := url.Values{}
	for i := 0; i < len(filter); i += 2 {
		query.Set(filter[i], filter[i+1])
	}
	resp := a.get(ctx, eventsPath+"?"+query.Encode())
	Expect(resp.Status).To(Equal(http.StatusOK), "%s", resp.Body)
	var found page
	resp.decode(&found)
	return found
}

func (r response) decode(into any) {
	GinkgoHelper()
	Expect(json.Unmarshal(r.Body, into)).To(Succeed(), "%s", r.Body)
}

// problem expects an RFC 7807 answer of that status and type.
func (r response) problem(status int, kind string) problem.Problem {
	GinkgoHelper()
	Expect(r.Status).To(Equal(status), "%s", r.Body)
	Expect(r.Header.Get("Content-Type")).To(Equal(problem.ContentType))
	var p problem.Problem
	r.decode(&p)
	Expect(p.Type).To(HaveSuffix("/" + kind))
	Expect(p.Status).To(Equal(status))
	return p
}

func (p page) ids() []string {
	ids := make([]string, len(p.Data))
	for i, e := range p.Data {
		ids[i] = e.ID
	}
	return ids
}

func (p page) types() []string {
	types := make([]string, len(p.Data))
	for i, e := range p.Data {
		types[i] = e.Type
	}
	return types
}
