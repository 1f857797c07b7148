package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"
	"time"

	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/kafka"
)

const (
	// slowCommit is above the commit time of a disk with a write cache, and below what
	// slows a worker with --concurrency 64.
	slowCommit = 100 * time.Millisecond
	// clocksApart is more than the difference between clocks that NTP synchronizes.
	clocksApart = 5 * time.Second
	// recordsAhead is the same for clocks of producers, with the transport time of a
	// record.
	recordsAhead = time.Minute
	// memoryBeside is the memory that a worker needs beside --fetch-memory:
	// deploy/README.md has the measurements.
	memoryBeside = 118 << 20
)

// checkTopicSafety compares the topics' settings with the guarantees.
func checkTopicSafety(ctx context.Context, o Options, conn *kafka.Cluster, used []string) []CheckResult {
	const name = "topics"
	topics, err := kafka.InspectTopics(ctx, conn, used...)
	if err != nil {
		return []CheckResult{{name, CheckWarning, "the settings of the topics cannot be read: give the user the right to describe their configuration; " + err.Error()}}
	}
	out := topicFindings(name, topics, o.inputTopics(), o.MaximumAge)
	if out == nil {
		fewest, most := topics[0].Partitions, topics[0].Partitions
		for _, t := range topics {
			fewest, most = min(fewest, t.Partitions), max(most, t.Partitions)
		}
		partitions := fmt.Sprint(fewest)
		if most > fewest {
			partitions += fmt.Sprintf(" to %d", most)
		}
		out = []CheckResult{{name, CheckOK, fmt.Sprintf("%d topics, each with %s partitions; they keep what was acknowledged, and the inputs for at least --maximum-age %s", len(topics), partitions, formatDays(o.MaximumAge))}}
	}
	return out
}

// topicFindings returns one line for each kind of weakness, naming the topics that have it.
func topicFindings(name string, topics []kafka.TopicSafety, inputs []string, longest time.Duration) (out []CheckResult) {
	isInput := map[string]bool{}
	for _, t := range inputs {
		isInput[t] = true
	}
	var blocked, single, loose, short []string
	kept := longest
	for _, t := range topics {
		switch {
		case t.MinInsyncReplicas > t.Replicas:
			blocked = append(blocked, t.Name)
		case t.Replicas < 2 && t.Brokers > 1:
			single = append(single, t.Name)
		case t.MinInsyncReplicas == 1 && t.Replicas > 1:
			loose = append(loose, t.Name)
		}
		if isInput[t.Name] && t.Retention >= 0 && t.Retention < longest {
			short, kept = append(short, t.Name), min(kept, t.Retention)
		}
	}
	for _, f := range []struct {
		topics  []string
		verdict CheckVerdict
		detail  string
	}{
		{blocked, CheckFailed, "min.insync.replicas is larger than the number of replicas, so no record can be written: lower it, or add replicas"},
		{single, CheckWarning, "there is one replica, so the loss of one broker is the loss of its records: use three replicas, and min.insync.replicas 2"},
		{loose, CheckWarning, "min.insync.replicas is 1, so an acknowledged record can be lost with one broker: set it to 2, with three replicas"},
		{short, CheckWarning, fmt.Sprintf("retention.ms is %s, and an operation waits for up to --maximum-age %s: a worker that is stopped for longer loses events, and a journal that is lost without a copy cannot be restored whole; raise retention.ms", formatDays(kept), formatDays(longest))},
	} {
		if len(f.topics) > 0 {
			out = append(out, CheckResult{name, f.verdict, strings.Join(f.topics, ", ") + ": " + f.detail})
		}
	}
	return out
}

// checkRecordTimes compares this machine's clock with the times of records. Brokers do
// not report their time: a record's time is that of its producer, or of the broker that
// appended it.
func checkRecordTimes(ctx context.Context, conn *kafka.Cluster, now time.Time, topics []string) CheckResult {
	const name = "clock"
	ahead, err := kafka.HasRecordsSince(ctx, conn, now.Add(recordsAhead), topics...)
	switch {
	case err != nil:
		return CheckResult{name, CheckWarning, "the times of records cannot be compared with this machine's clock: " + err.Error()}
	case len(ahead) > 0:
		return CheckResult{name, CheckWarning, fmt.Sprintf("%s: a record's time is more than %s ahead of this machine's clock: compare the clocks of this machine, the brokers and the producers", strings.Join(ahead, ", "), recordsAhead)}
	}
	return CheckResult{name, CheckOK, "no record has a time ahead of this machine's clock"}
}

// checkCommits measures the journal's disk; on PostgreSQL also its clock and its
// standbys. If the journal cannot be opened, its own line reports that.
func checkCommits(ctx context.Context, o Options) []CheckResult {
	at, err := journalAt(o.JournalURL)
	if err != nil {
		return nil
	}
	if at.path == "" {
		found, err := postgres.Inspect(ctx, postgres.Options{URL: at.url})
		if err != nil {
			return []CheckResult{{"commit", CheckFailed, at.explain(err).Error()}}
		}
		return serverFindings(found)
	}
	took, err := sqlite.SyncTime(at.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return []CheckResult{{"commit", CheckFailed, "the journal's disk stores nothing durably: " + err.Error()}}
	}
	return []CheckResult{commitFinding(took, "use a local disk, or one with a write cache that survives a loss of power")}
}

func commitFinding(took time.Duration, advice string) CheckResult {
	words := "a commit takes " + took.Round(10*time.Microsecond).String() + " (median)"
	if took > slowCommit {
		return CheckResult{"commit", CheckWarning, words + ", and every request to Invoicebox waits for several: " + advice}
	}
	return CheckResult{"commit", CheckOK, words}
}

func serverFindings(found postgres.Inspection) []CheckResult {
	out := []CheckResult{commitFinding(found.Commit, "look at the server's disk, at the way to its synchronous standby, and at commit_delay")}
	off := found.ClockOff.Abs() - found.ClockDoubt
	direction := "ahead of"
	if found.ClockOff < 0 {
		direction = "behind"
	}
	if off > clocksApart {
		out = append(out, CheckResult{"clock", CheckWarning, fmt.Sprintf("the database's clock is %s %s this machine's: set both by NTP", found.ClockOff.Abs().Round(time.Second), direction)})
	}
	switch {
	case found.Synchronous:
		out = append(out, CheckResult{"replication", CheckOK, "a commit waits for a synchronous standby"})
	case found.Standbys > 0:
		out = append(out, CheckResult{"replication", CheckWarning, "the server has standbys, and commits wait for none: after a fail-over the last commits can be missing, and the workers refuse to continue until `journal recover`; set synchronous_standby_names, and synchronous_commit to on, remote_write or remote_apply"})
	default:
		out = append(out, CheckResult{"replication", CheckOK, "the server has no standby"})
	}
	return out
}

// checkLimits finds settings that are each valid and do not fit together.
func checkLimits(o Options) []CheckResult {
	const name = "limits"
	var out []CheckResult
	warn := func(format string, args ...any) {
		out = append(out, CheckResult{name, CheckWarning, fmt.Sprintf(format, args...)})
	}
	// The requests that the API counts by address, in the window of that limit.
	var together float64
	for _, a := range o.Accounts {
		together += float64(a.RequestsPerWindow) * float64(o.egressWindow()) / float64(a.Window)
	}
	if together > float64(o.EgressRequestsPerWindow) {
		warn("the accounts may send %.0f requests in %s, and all together %d (--egress-requests-per-window): accounts wait for each other; raise the second where the API allows it, or lower the first", together, o.egressWindow(), o.EgressRequestsPerWindow)
	}
	if o.drainTime() < o.RequestDeadline {
		warn("--drain-time %s is shorter than --request-deadline %s: a request that is cut off at the end of the worker has an unknown outcome", o.drainTime(), o.RequestDeadline)
	}
	if limit := memoryLimit(); limit > 0 && limit < int64(o.FetchMemory)+memoryBeside {
		warn("GOMEMLIMIT is %s, and --fetch-memory %s and the rest of the worker need up to %s: raise the one, or lower the other", formatBytes(limit), formatBytes(int64(o.FetchMemory)), formatBytes(int64(o.FetchMemory)+memoryBeside))
	}
	if open, ok := openFiles(); ok && open < uint64(o.Concurrency)+128 { // #nosec G115 -- bounded by its setting
		warn("%d files may be open at once (ulimit -n), and --concurrency %d needs up to %d: raise the limit", open, o.Concurrency, o.Concurrency+128)
	}
	if out == nil {
		out = []CheckResult{{name, CheckOK, fmt.Sprintf("%d calls at a time, %d requests in %s, %s to drain", o.Concurrency, o.EgressRequestsPerWindow, o.egressWindow(), o.drainTime())}}
	}
	return out
}

// memoryLimit is GOMEMLIMIT, 0 without one.
func memoryLimit() int64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == 1<<63-1 {
		return 0
	}
	return limit
}

// checkFiles checks the files that the settings name, as a running worker does.
func checkFiles(o Options) []CheckResult {
	if len(o.Files) == 0 {
		return nil
	}
	var out []CheckResult
	for _, f := range o.Files {
		if err := f.Look(); err != nil {
			out = append(out, CheckResult{"files", CheckFailed, "--" + f.Setting() + ": " + err.Error()})
		}
	}
	if out == nil {
		out = []CheckResult{{"files", CheckOK, fmt.Sprintf("%d files with secrets and certificates can be read", len(o.Files))}}
	}
	return out
}
