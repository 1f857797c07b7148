package postgres

import (
	"flag"
	"os"
	"testing"

	"invoicebox-worker/internal/testutil/cleanenv"
)

func TestMain(m *testing.M) {
	cleanenv.Use()
	// Most tests wait for servers. go test's own limit is the number of cores; -parallel overrides
	// this one.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
