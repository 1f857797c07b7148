package app

import (
	"errors"
	"math"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
)

// findings says of each wanted part of a detail whether a line of that verdict has it.
func findings(t *testing.T, got []CheckResult, verdict CheckVerdict, parts ...string) {
	t.Helper()
	if len(got) != max(1, len(parts)) {
		t.Errorf("%d lines, want %d: %+v", len(got), max(1, len(parts)), got)
		return
	}
	for i, r := range got {
		if r.Verdict != verdict || len(parts) > 0 && !strings.Contains(r.Detail, parts[i]) {
			t.Errorf("%+v, want %s with %q", r, verdict, parts)
		}
	}
}

func TestCheckTopicSafety(t *testing.T) {
	const week = 168 * time.Hour
	good := func(name string) kafka.TopicSafety {
		return kafka.TopicSafety{Name: name, Partitions: 6, Replicas: 3, Brokers: 3, MinInsyncReplicas: 2, Retention: week}
	}
	changed := func(change func(*kafka.TopicSafety)) kafka.TopicSafety {
		s := good("input")
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		topic   kafka.TopicSafety
		verdict CheckVerdict
		want    string // "": no line
	}{
		"good":                {topic: good("input")},
		"kept for ever":       {topic: changed(func(s *kafka.TopicSafety) { s.Retention = -1 })},
		"not said":            {topic: changed(func(s *kafka.TopicSafety) { s.MinInsyncReplicas = 0 })},
		"one broker":          {topic: changed(func(s *kafka.TopicSafety) { s.Brokers, s.Replicas, s.MinInsyncReplicas = 1, 1, 1 })},
		"one replica":         {changed(func(s *kafka.TopicSafety) { s.Replicas, s.MinInsyncReplicas = 1, 1 }), CheckWarning, "use three replicas"},
		"one in-sync":         {changed(func(s *kafka.TopicSafety) { s.MinInsyncReplicas = 1 }), CheckWarning, "set it to 2"},
		"too many in-sync":    {changed(func(s *kafka.TopicSafety) { s.MinInsyncReplicas = 4 }), CheckFailed, "no record can be written"},
		"deleted too early":   {changed(func(s *kafka.TopicSafety) { s.Retention = week - 1 }), CheckWarning, "raise retention.ms"},
		"results need it not": {topic: func() kafka.TopicSafety { s := good("result"); s.Retention = time.Hour; return s }()},
	} {
		t.Run(name, func(t *testing.T) {
			got := topicFindings("topics", []kafka.TopicSafety{c.topic}, []string{"input"}, week)
			if c.want == "" {
				if got != nil {
					t.Errorf("%+v", got)
				}
				return
			}
			findings(t, got, c.verdict, c.want)
		})
	}
}

// The same with a broker: topics as `topics create` makes them are good, others are not.
func TestCheckTopics_Kafka(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		o := Options{Worker: config.DefaultWorker()}
		o.Topics = map[string]string{}
		base := c.NewTopic(t, "checked", 1)
		for _, name := range o.AllTopics() {
			o.Topics[name] = base + "-" + name
		}
		conn, err := kafka.New(kafka.Config{Brokers: c.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kafka.CreateTopics(t.Context(), conn, o.TopicSpecs(2, 0, o.MaximumAge)); err != nil {
			t.Fatal(err)
		}
		findings(t, checkTopicSafety(t.Context(), o, conn, o.UsedTopics()), CheckOK)
		findings(t, []CheckResult{checkRights(t.Context(), o, conn, o.UsedTopics())}, CheckOK)
		o.MaximumAge += time.Hour
		findings(t, checkTopicSafety(t.Context(), o, conn, o.UsedTopics()), CheckWarning, "raise retention.ms")
		// The partitions of new topics have leaders a moment later.
		got := checkRecordTimes(t.Context(), conn, time.Now(), o.UsedTopics())
		for began := time.Now(); got.Verdict != CheckOK && strings.Contains(got.Detail, "leader") && time.Since(began) < 30*time.Second; <-time.After(100 * time.Millisecond) {
			got = checkRecordTimes(t.Context(), conn, time.Now(), o.UsedTopics())
		}
		if got.Verdict != CheckOK {
			t.Errorf("without records: %+v", got)
		}
		// This machine's clock is an hour behind that of the producer.
		input := o.inputTopics()[0]
		c.Produce(t, input, []kafkago.Message{{Value: []byte("{}"), Time: time.Now()}})
		if got := checkRecordTimes(t.Context(), conn, time.Now().Add(-time.Hour), o.UsedTopics()); got.Verdict != CheckWarning || !strings.Contains(got.Detail, input) {
			t.Errorf("a clock that is behind: %+v", got)
		}
		o.Topics = nil
		findings(t, checkTopicSafety(t.Context(), o, conn, o.UsedTopics()), CheckWarning, "the right to describe")
	})
}

func TestCheckServer(t *testing.T) {
	for name, c := range map[string]struct {
		found   postgres.Inspection
		line    string
		verdict CheckVerdict
		detail  string
	}{
		"slow":        {postgres.Inspection{Commit: slowCommit + 1}, "commit", CheckWarning, "commit_delay"},
		"fast":        {postgres.Inspection{Commit: time.Millisecond}, "commit", CheckOK, "1ms"},
		"ahead":       {postgres.Inspection{ClockOff: time.Minute}, "clock", CheckWarning, "1m0s ahead of"},
		"behind":      {postgres.Inspection{ClockOff: -time.Minute}, "clock", CheckWarning, "1m0s behind"},
		"a slow way":  {postgres.Inspection{ClockOff: 6 * time.Second, ClockDoubt: 2 * time.Second}, "replication", CheckOK, "no standby"},
		"standby":     {postgres.Inspection{Standbys: 1}, "replication", CheckWarning, "synchronous_standby_names"},
		"synchronous": {postgres.Inspection{Standbys: 1, Synchronous: true}, "replication", CheckOK, "waits"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range serverFindings(c.found) {
				switch {
				case r.Name == c.line && (r.Verdict != c.verdict || !strings.Contains(r.Detail, c.detail)):
					t.Errorf("%+v", r)
				case r.Name != c.line && r.Verdict != CheckOK:
					t.Errorf("another line: %+v", r)
				}
			}
		})
	}
}

func TestCheckLimits(t *testing.T) {
	account := Account{Name: "default", RequestsPerWindow: 100, Window: 30 * time.Second}
	good := func() Options { return Options{Worker: config.DefaultWorker(), Accounts: []Account{account}} }
	findings(t, checkLimits(good()), CheckOK)
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"six accounts share five": {func(o *Options) {
			for range 5 {
				o.Accounts = append(o.Accounts, account)
			}
		}, "600 requests in 30s"},
		"calls are cut off":     {func(o *Options) { o.DrainTime = o.RequestDeadline - 1 }, "--drain-time"},
		"more calls than files": {func(o *Options) { o.Concurrency = math.MaxInt32 * 1024 }, "ulimit -n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good()
			c.change(&o)
			findings(t, checkLimits(o), CheckWarning, c.want)
		})
	}
	t.Run("little memory", func(t *testing.T) {
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(100 << 20))
		findings(t, checkLimits(good()), CheckWarning, "GOMEMLIMIT is 100.0 MiB")
	})
}

type lookedAt struct{ err error }

func (f lookedAt) Setting() string { return "token-file" }
func (f lookedAt) Look() error     { return f.err }

func TestCheckFiles(t *testing.T) {
	findings(t, checkFiles(Options{Files: []WatchedFile{lookedAt{}}}), CheckOK)
	findings(t, checkFiles(Options{Files: []WatchedFile{lookedAt{}, lookedAt{errors.New("/x is empty")}}}), CheckFailed, "--token-file: /x is empty")
}
