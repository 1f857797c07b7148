package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestEffective(t *testing.T) {
	w := DefaultWorker()
	w.JournalURL, w.PartnerID, w.Concurrency = "postgres://user:s3cret@host/db?password=s3cret", "p", 7
	g := Given{sources: map[string]string{"partner-id": "", "concurrency": "worker.yaml:3"}}
	all := map[string]Effective{}
	for _, e := range g.Effective(&w) {
		all[e.Name] = e
	}
	if len(all) != reflect.TypeFor[Worker]().NumField() {
		t.Errorf("%d settings", len(all))
	}
	for _, want := range []Effective{{"concurrency", "7", "worker.yaml:3"}, {"partner-id", "p", "command line"}, {"request-deadline", "30s", "default"}} {
		if all[want.Name] != want {
			t.Errorf("%+v, want %+v", all[want.Name], want)
		}
	}
	if strings.Contains(all["journal-url"].Value, "s3cret") {
		t.Errorf("a password is shown: %+v", all["journal-url"])
	}
}
