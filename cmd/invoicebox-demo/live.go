package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// liveShow is the view for a terminal. It tells whether the user left early.
func liveShow(ctx context.Context, w io.Writer, b *board, s *stage, f flags) (bool, error) {
	m := &live{board: b, stage: s, flags: f, width: 100, height: 30}
	program := tea.NewProgram(m, tea.WithContext(ctx), tea.WithOutput(w), tea.WithoutSignalHandler())
	_, err := program.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		err = nil // the stories have ended
	}
	return m.left, err
}

// live is the bubbletea model. It holds nothing that the board does not know.
type live struct {
	board         *board
	stage         *stage
	flags         flags
	width, height int
	left          bool // the user quit
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
		case "q", "esc", "ctrl+c":
			m.left = true
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
	m.board.mu.Lock()
	defer m.board.mu.Unlock()
	width := max(m.width, 60)
	head := m.title(width) + "\n\n" + m.columns(width) + "\n\n" + m.meter(width) + "\n\n"
	rest := m.height - strings.Count(head, "\n") - 1
	v := tea.NewView(head + m.feeds(width, max(rest, 3)))
	v.AltScreen = true
	return v
}

func (m *live) title(width int) string {
	left := titleStyle.Render(" invoicebox-demo") + faintStyle.Render(fmt.Sprintf("   %d shops · %s · seed %d", len(m.board.shops), m.flags.Profile, m.flags.Seed))
	right := fmt.Sprintf("%5.1f s ", time.Since(m.board.start).Seconds()) + faintStyle.Render("q quits ")
	return left + strings.Repeat(" ", max(1, width-lipgloss.Width(left)-lipgloss.Width(right))) + right
}

// A column of the board holds the shops for which holds says so.
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
	const rows = 7
	each := width / len(columns)
	perRow := max(1, (each-1)/3)
	blocks := make([]string, 0, len(columns))
	for _, c := range columns {
		var chips []string
		for _, s := range m.board.shops {
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
		text.WriteString(headStyle.Render(c.head) + "\n" + titleStyle.Render(strconv.Itoa(len(chips))))
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
	requests := m.stage.sandbox.Requests()
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
	return lipgloss.NewStyle().MaxWidth(width).Render(text + faintStyle.Render(fmt.Sprintf("   %d calls, %d dead letters   ~ waits, to be called again", len(requests), m.board.deadLetters)))
}

// feeds shows the latest lines of each kind, newest last.
func (m *live) feeds(width, height int) string {
	each := width / 3
	blocks := make([]string, 0, 3)
	for f, head := range []string{"events in", "calls to Invoicebox", "events out"} {
		var lines []string
		for i := len(m.board.lines) - 1; i >= 0 && len(lines) < height-1; i-- {
			l := m.board.lines[i]
			if l.feed != feed(f) {
				continue
			}
			text := fmt.Sprintf("%5.1f %s %s", l.at.Seconds(), l.shop, l.text)
			if runes := []rune(text); len(runes) > each-2 {
				text = string(runes[:each-3]) + "…"
			}
			lines = append(lines, moodStyles[l.mood].Render(text))
		}
		for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
			lines[i], lines[j] = lines[j], lines[i]
		}
		block := headStyle.Render(head) + "\n" + strings.Join(lines, "\n")
		blocks = append(blocks, lipgloss.NewStyle().Width(each).PaddingLeft(1).Render(block))
	}
	return lipgloss.JoinHorizontal(lipgloss.Top, blocks...)
}
