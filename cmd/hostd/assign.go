package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostd/hostd/core/host"
)

func (c *cli) assignCommand() *cobra.Command {
	var a host.AssignArgs
	cmd := &cobra.Command{
		Use:   "assign DEVICE/RECORD --patient ID",
		Short: "say to whom an exam belongs that names no patient",
		Long: "Say to whom an exam belongs that names no patient (hostd exams --unassigned lists them). Every sink gets a record that amends it: the same\n" +
			"findings, with the patient; sinks that hold such exams back get it in their place. What the instrument said of the patient besides the id\n" +
			"stays where you leave it out. The audit keeps who did it, and to which exam.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var named bool
			if a.Device, a.ID, named = strings.Cut(args[0], "/"); !named {
				return usage{errors.New("name the exam as DEVICE/RECORD: see hostd exams --unassigned")}
			}
			if err := a.Check(); err != nil {
				return usage{err}
			}
			cfg, err := c.load()
			if err != nil {
				return err
			}
			a.By = who()
			done, err := host.Assign(cmd.Context(), cfg, a)
			if err != nil {
				return err
			}
			if done.Already {
				return c.answer(done, fmt.Sprintf("%s/%s has this patient already, by the record %s: nothing is done\n", done.Device, done.Exam, done.Record))
			}
			return c.answer(done, fmt.Sprintf("%s/%s is assigned by the record %s\n", done.Device, done.Exam, done.Record))
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.Patient.ID, "patient", "", "the patient's id")
	f.StringVar(&a.Patient.Name, "name", "", "family name, one blank, given name")
	f.StringVar(&a.Patient.Birth, "birth", "", "date of birth, YYYY-MM-DD")
	f.StringVar(&a.Patient.Sex, "sex", "", "M, F or O")
	f.BoolVar(&a.Correct, "correct", false, "the exam has a patient already, and it is another one")
	return cmd
}
