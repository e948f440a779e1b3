package support

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/problem"
)

// Paths of DataStorage's API.
const (
	EventsPath = "/api/v1/audit/events"
	BatchPath  = EventsPath + "/batch"
)

var httpClient = &http.Client{Timeout: 10 * time.Second}

// Storage is DataStorage as a plain HTTP client sees it; URL is without a path.
type Storage struct{ URL string }

// Response is a whole answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Page is one page of the events that a query found.
type Page struct {
	Data       []audit.Event
	Pagination struct {
		Limit, Offset, Total int
		HasMore              bool `json:"has_more"`
	}
}

// Try is a request whose failure is not the end of the spec.
func (s Storage) Try(ctx context.Context, method, path, contentType string, body []byte) (Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return Response{}, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return Response{Status: resp.StatusCode, Header: resp.Header, Body: text}, err
}

// Do is a request that has to get an answer, of whatever status.
func (s Storage) Do(ctx context.Context, method, path, contentType string, body []byte) Response {
	GinkgoHelper()
	resp, err := s.Try(ctx, method, path, contentType, body)
	Expect(err).NotTo(HaveOccurred())
	return resp
}

func (s Storage) Get(ctx context.Context, path string) Response {
	GinkgoHelper()
	return s.Do(ctx, http.MethodGet, path, "", nil)
}

func (s Storage) Post(ctx context.Context, path string, body any) Response {
	GinkgoHelper()
	text, err := json.Marshal(body)
	Expect(err).NotTo(HaveOccurred())
	return s.Do(ctx, http.MethodPost, path, "application/json", text)
}

// Write stores events by one request and expects that it works.
func (s Storage) Write(ctx context.Context, events ...audit.Event) {
	GinkgoHelper()
	resp := s.Post(ctx, BatchPath, events)
	Expect(resp.Status).To(Equal(http.StatusCreated), "%s", resp.Body)
}

// Find reads the events that have all of the given filter's values: key, value, key, value.
func (s Storage) Find(ctx context.Context, filter ...string) Page {
	GinkgoHelper()
	query := url.Values{}
	for i := 0; i < len(filter); i += 2 {
		query.Set(filter[i], filter[i+1])
	}
	resp := s.Get(ctx, EventsPath+"?"+query.Encode())
	Expect(resp.Status).To(Equal(http.StatusOK), "%s", resp.Body)
	var found Page
	resp.Decode(&found)
	return found
}

// Trail is every event of a correlation id, the oldest first. What a client has
// not written yet is not in it.
func (s Storage) Trail(ctx context.Context, correlationID string) []audit.Event {
	GinkgoHelper()
	found := s.Find(ctx, "correlation_id", correlationID, "limit", "1000")
	Expect(found.Pagination.HasMore).To(BeFalse(), "the trail of %s is longer than a page", correlationID)
	slices.Reverse(found.Data)
	return found.Data
}

// WaitUntilHealthy is for BeforeSuite: a stack that is not up fails it, by name.
func (s Storage) WaitUntilHealthy(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, func() (int, error) {
		resp, err := s.Try(ctx, http.MethodGet, "/health", "", nil)
		return resp.Status, err
	}, "30s").Should(Equal(http.StatusOK), "DataStorage at %s is not healthy", s.URL)
}

// Decode reads a JSON body.
func (r Response) Decode(into any) {
	GinkgoHelper()
	Expect(json.Unmarshal(r.Body, into)).To(Succeed(), "%s", r.Body)
}

// Problem expects an RFC 7807 answer of that status and type.
func (r Response) Problem(status int, kind string) problem.Problem {
	GinkgoHelper()
	Expect(r.Status).To(Equal(status), "%s", r.Body)
	Expect(r.Header.Get("Content-Type")).To(Equal(problem.ContentType))
	var p problem.Problem
	r.Decode(&p)
	Expect(p.Type).To(HaveSuffix("/" + kind))
	Expect(p.Status).To(Equal(status))
	return p
}

// IDs of the page's events, in its order: newest first.
func (p Page) IDs() []string {
	ids := make([]string, len(p.Data))
	for i, e := range p.Data {
		ids[i] = e.ID
	}
	return ids
}

// Types of the page's events, in its order: newest first.
func (p Page) Types() []string {
	types := make([]string, len(p.Data))
	for i, e := range p.Data {
		types[i] = e.Type
	}
	return types
}
