// Package beforesuite_test is a case for the runner's tests: BeforeSuite fails.
package beforesuite_test

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func Test(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "beforesuite")
}

var _ = BeforeSuite(func() {
	Fail("DATA_STORAGE_URL is not set")
})

var _ = Describe("A spec", func() {
	It("would have passed", func() { Expect(true).To(BeTrue()) })

	It("would have passed as well", func() { Expect(true).To(BeTrue()) })
})
