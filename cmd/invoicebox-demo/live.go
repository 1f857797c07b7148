package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"invoicebox-worker/invoicebox/sandbox"
)

// runLive is the view for a terminal. It reports whether the user left early.
func runLive(ctx context.Context, w *output, b *progress, s *environment, f flags) (departure, error) {
	m := &live{progress: b, requests: s.sandbox.Requests, flags: f, width: 80, height: 24}
	program := tea.NewProgram(m, tea.WithContext(ctx), tea.WithOutput(w.w), tea.WithoutSignalHandler())
	_, err := program.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		err = nil // all shops have ended
	}
	return m.left, err
}

// live is the bubbletea model. It holds nothing that progress does not have.
type live struct {
	progress      *progress
	requests      func() []sandbox.Request
	flags         flags
	width, height int
	left          departure
}

type tick struct{}

func nextTick() tea.Cmd {
	return tea.Tick(100*time.Millisecond, func(time.Time) tea.Msg { return tick{} })
}

// Init implements tea.Model.
func (m *live) Init() tea.Cmd { return nextTick() }

// Update implements tea.Model.
func (m *live) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tick:
		return m, nextTick()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "esc":
			m.left = quit
			return m, tea.Quit
		case "ctrl+c":
			m.left = interrupted
			return m, tea.Quit
		}
	}
	return m, nil
}

// palette: few colours, readable on dark and light.
var (
	titleStyle = lipgloss.NewStyle().Bold(true)
	faintStyle = lipgloss.NewStyle().Faint(true)
	headStyle  = lipgloss.NewStyle().Bold(true).Underline(true)
	moodStyles = map[mood]lipgloss.Style{
		plain: lipgloss.NewStyle(),
		good:  lipgloss.NewStyle().Foreground(lipgloss.Color("2")),
		bad:   lipgloss.NewStyle().Foreground(lipgloss.Color("1")),
		wait:  lipgloss.NewStyle().Foreground(lipgloss.Color("3")),
	}
)

// View implements tea.Model.
func (m *live) View() tea.View {
	m.progress.mu.Lock()
	defer m.progress.mu.Unlock()
	v := tea.NewView(m.screen())
	v.AltScreen = true
	return v
}

// screen is the whole view. The caller holds the lock of progress.
func (m *live) screen() string {
	width := max(m.width, 40)
	head := m.title(width) + "\n\n" + m.columns(width) + "\n\n" + m.meter(width) + "\n" + m.description(width) + "\n\n"
	rest := m.height - strings.Count(head, "\n")
	return head + m.feeds(width, max(rest, 3))
}

// description describes one shop while it happens, in two lines.
func (m *live) description(width int) string {
	s := m.progress.featured
	if s == nil {
		return fit(faintStyle.Render(" a shop with an unusual scenario is shown here"), width) + "\n"
	}
	return fit(" "+titleStyle.Render(s.id+" · "+s.scenario.name)+faintStyle.Render(": "+s.scenario.description), width) + "\n" + fit("   now: "+s.now(), width)
}

// fit cuts a styled line at the width.
func fit(text string, width int) string {
	if lipgloss.Width(text) <= width {
		return text
	}
	return lipgloss.NewStyle().MaxWidth(width-1).Render(text) + "…"
}

func (m *live) title(width int) string {
	left := titleStyle.Render(" invoicebox-demo") + faintStyle.Render(fmt.Sprintf("   %d shops · %s · seed %d", len(m.progress.shops), m.flags.Profile, m.flags.Seed))
	right := fmt.Sprintf("%5.1f s ", time.Since(m.progress.start).Seconds()) + faintStyle.Render("q quits ")
	return fit(left+strings.Repeat(" ", max(1, width-lipgloss.Width(left)-lipgloss.Width(right)))+right, width)
}

// A column of the view has the shops for which holds returns true.
type column struct {
	head  string
	mood  mood
	holds func(*shop) bool
}

var columns = []column{
	{"to come", plain, func(s *shop) bool { return s.step == waiting }},
	{"selected", plain, func(s *shop) bool { return s.step == selected }},
	{"invited", good, func(s *shop) bool { return s.step == invited }},
	{"entered", plain, func(s *shop) bool { return s.step == entered }},
	{"activated", good, func(s *shop) bool { return s.end == activated }},
	{"refused", bad, func(s *shop) bool { return s.end == refused }},
	{"person", bad, func(s *shop) bool { return s.end == attention }},
	{"not ours", plain, func(s *shop) bool { return s.end == ignored }},
}

// columns shows each shop as its number in the column of its step; one that
// waits to be called again has a mark.
func (m *live) columns(width int) string {
	rows := 7
	if m.height < 30 {
		rows = max(1, min(4, m.height-16))
	}
	each := width / len(columns)
	perRow := max(1, (each-1)/3)
	blocks := make([]string, 0, len(columns))
	for _, c := range columns {
		var chips []string
		for _, s := range m.progress.shops {
			if !c.holds(s) {
				continue
			}
			id := strings.TrimPrefix(s.id, "shop-")
			if s.waits && s.step != ended {
				chips = append(chips, moodStyles[wait].Render(id+"~"))
			} else {
				chips = append(chips, moodStyles[c.mood].Render(id)+" ")
			}
		}
		var text strings.Builder
		text.WriteString(headStyle.Render(c.head[:min(len(c.head), each-1)]) + "\n" + titleStyle.Render(strconv.Itoa(len(chips))))
		for row := range rows {
			text.WriteString("\n")
			from, to := row*perRow, min((row+1)*perRow, len(chips))
			switch {
			case from >= to:
			case row == rows-1 && to < len(chips):
				text.WriteString(faintStyle.Render(fmt.Sprintf("+%d more", len(chips)-from)))
			default:
				text.WriteString(strings.Join(chips[from:to], ""))
			}
		}
		blocks = append(blocks, lipgloss.NewStyle().Width(each).PaddingLeft(1).Render(text.String()))
	}
	return lipgloss.JoinHorizontal(lipgloss.Top, blocks...)
}

// meter shows how much of the API's limit the last window used.
func (m *live) meter(width int) string {
	used, since := 0, time.Now().Add(-window)
	requests := m.requests()
	for i := len(requests) - 1; i >= 0 && requests[i].Time.After(since); i-- {
		if requests[i].Operation != "check" {
			used++
		}
	}
	const bar = 20
	full := min(bar, used*bar/limit)
	style := moodStyles[good]
	if used >= limit {
		style = moodStyles[wait]
	}
	text := " limit " + style.Render(strings.Repeat("█", full)) + faintStyle.Render(strings.Repeat("░", bar-full)) +
		fmt.Sprintf(" %2d of %d calls in %v", used, limit, window)
	return fit(text+faintStyle.Render(fmt.Sprintf("   %s   ~ waits", counted(m.progress.deadLetters, "dead letter"))), width)
}

// sideBySide is the width from which the feeds stand side by side with their
// reasons whole.
const sideBySide = 118

// feeds shows the latest lines, newest last: in three columns, or in one where
// the reasons would be cut.
func (m *live) feeds(width, height int) string {
	if width < sideBySide {
		return headStyle.Render(" what happens") + "\n" + m.feed(width, height-1, fromPlatform, calls, published, fromWorker)
	}
	const in, out = 33, 33
	blocks := make([]string, 0, 3)
	for _, column := range []struct {
		head  string
		width int
		feeds []feed
	}{
		{"events in", in, []feed{fromPlatform}},
		{"calls to Invoicebox", out, []feed{calls}},
		{"events out", width - in - out, []feed{published, fromWorker}},
	} {
		block := " " + headStyle.Render(column.head) + "\n" + m.feed(column.width, height-1, column.feeds...)
		blocks = append(blocks, lipgloss.NewStyle().Width(column.width).Render(block))
	}
	return lipgloss.JoinHorizontal(lipgloss.Top, blocks...)
}

// feed is the latest lines of some feeds. The kind of each line is named where
// there are several kinds in one column.
func (m *live) feed(width, height int, feeds ...feed) string {
	var lines []string
	for i := len(m.progress.lines) - 1; i >= 0 && len(lines) < height; i-- {
		l := m.progress.lines[i]
		if !slices.Contains(feeds, l.feed) {
			continue
		}
		shop := strings.TrimPrefix(l.shop, "shop-")
		text := fmt.Sprintf(" %5.1f %2s %s", l.at.Seconds(), shop, l.text)
		if len(feeds) > 2 {
			text = fmt.Sprintf(" %5.1f %-8s %2s %s", l.at.Seconds(), feedNames[l.feed], shop, l.text)
		}
		lines = append(lines, moodStyles[l.mood].Render(fit(text, width-1)))
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}
