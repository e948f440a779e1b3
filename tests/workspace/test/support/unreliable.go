package support

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// Flaky is the URL of a DataStorage that answers the first n requests with a
// status, and takes the others.
func (s Storage) Flaky(n int64, status int) string {
	GinkgoHelper()
	through := s.proxy()
	var requests atomic.Int64
	return serve(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) <= n {
			w.WriteHeader(status)
			return
		}
		through.ServeHTTP(w, r)
	})
}

// LosingFirstAnswer is the URL of a DataStorage that takes all requests; the
// answer to the first one does not arrive.
func (s Storage) LosingFirstAnswer() string {
	GinkgoHelper()
	through := s.proxy()
	var requests atomic.Int64
	return serve(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > 1 {
			through.ServeHTTP(w, r)
			return
		}
		through.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
}

// Stuck is the URL of a DataStorage that answers nothing before release, and
// then takes requests.
func (s Storage) Stuck() (address string, release func()) {
	GinkgoHelper()
	through := s.proxy()
	released := make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	address = serve(func(w http.ResponseWriter, r *http.Request) {
		<-released
		through.ServeHTTP(w, r)
	})
	DeferCleanup(release) // before the server's Close, which waits for its requests
	return address, release
}

// serve is an HTTP server for the length of the spec.
func serve(handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	DeferCleanup(server.Close)
	return server.URL
}

func (s Storage) proxy() http.Handler {
	GinkgoHelper()
	target, err := url.Parse(s.URL)
	Expect(err).NotTo(HaveOccurred())
	return httputil.NewSingleHostReverseProxy(target)
}
