// Package skipping_test is a case for the runner's tests: every spec skips itself.
package skipping_test

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func Test(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "skipping")
}

var _ = Describe("Without DataStorage", func() {
	BeforeEach(func() { Skip("no datastorage") })

	It("writes an event", func() { Expect(true).To(BeTrue()) })

	It("reads an event", func() { Expect(true).To(BeTrue()) })
})
