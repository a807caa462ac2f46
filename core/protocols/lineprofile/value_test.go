package lineprofile_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk/exam"
)

// TestDecimalIsAsExam holds that a number is the one of exam.ParseValue and strconv, and its own text where exam says so.
func TestDecimalIsAsExam(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	letters := []string{"0", "0", "1", "5", "9", "07", "25", "123456", "999999", ".", ",", "-", "+", " ", "e", "."}
	numbers := 0
	for range 300_000 {
		text := []string{"", "", "-", "+", "- ", "0.", "-0.", "0.0000001", "100000000000000"}[r.IntN(9)]
		for range r.IntN(6) {
			text += letters[r.IntN(len(letters))]
		}
		shift := []int{0, 0, -4, -2, 1, 4}[r.IntN(6)]
		number, plain, ok := lineprofile.Decimal(text, shift)
		want := exam.ParseValue(exam.CodeSphere, strings.Replace(signed(text), ",", ".", 1))
		if ok != want.IsNumber() {
			t.Fatalf("%q is a number: %t", text, ok)
		}
		if !ok {
			continue
		}
		if shift != 0 {
			n, err := strconv.ParseFloat(strings.Replace(signed(text), ",", ".", 1)+"e"+strconv.Itoa(shift), 64)
			if err != nil {
				t.Fatal(err)
			}
			want = exam.Number(n)
		}
		if exam.Number(number) != want || plain != want.Is(text) {
			t.Fatalf("%q by %d: %v, plain %t; want %v", text, shift, number, plain, want)
		}
		numbers++
	}
	if numbers < 50_000 {
		t.Error(numbers)
	}
}

// signed is text without blanks behind its sign.
func signed(text string) string {
	if text != "" && strings.ContainsAny(text[:1], "+-") {
		return text[:1] + strings.TrimLeft(text[1:], " ")
	}
	return text
}
