// Package slow_test is a case for the runner's tests: 20 specs of half a second each, or of SLOW_SPEC_MS.
package slow_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func Test(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "slow")
}

func duration() time.Duration {
	text, ok := os.LookupEnv("SLOW_SPEC_MS")
	if !ok {
		return 500 * time.Millisecond
	}
	ms, err := strconv.Atoi(text)
	Expect(err).NotTo(HaveOccurred())
	return time.Duration(ms) * time.Millisecond
}

var _ = Describe("A slow service", func() {
	for i := range 20 {
		It(fmt.Sprintf("answers request %d", i+1), func() { time.Sleep(duration()) })
	}
})
