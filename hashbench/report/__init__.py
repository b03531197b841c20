"""What a reader gets: tables for papers and pages, and the numbers that papers print beside ours."""
